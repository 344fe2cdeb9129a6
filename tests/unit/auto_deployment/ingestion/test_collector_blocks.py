"""Many lines at once give what each line gives alone."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.events import Rating, Reject, Repaired, Rules, Watch, parse, watches_of
from auto_deployment.ingestion.rows import rows_of
from auto_deployment.ingestion.sources import Block

SOUND = (
    "2023-10-25T07:20:57,135941,GET /data/m/interstellar+2014/134.mpg",
    "2024-10-14T15:22,70999,GET /data/m/interstellar+2014/135.mpg",
    "2024-02-30T15:22:01,70999,GET /data/m/interstellar+2014/135.mpg",
    "2024-02-29T15:22:01,3000000,GET /data/m/connections+/1.mpg",
    "2024-02-29T15:22:01,1999999,GET /data/m/connections+/1.mpg",
    "2023-09-28T20:20:23,303668,GET /rate/how+to+train+your+dragon+2+2014=4",
    "2024-10-14T15:22:07,70999,GET /create_account",
    "",
)
RULES = Rules()


def damaged(line: str, at: int, extra: str) -> str:
    """The line with something put into it."""
    at %= len(line) + 1
    return line[:at] + extra + line[at:]


LINES = st.lists(
    st.one_of(
        st.sampled_from(SOUND),
        st.builds(damaged, st.sampled_from(SOUND), st.integers(0, 100), st.sampled_from(list(" aZ09,+\n\r\x0b\u2028\udcff"))),
        st.text(max_size=30),
    ),
    max_size=12,
)


@given(LINES)
def test_a_block_is_the_sum_of_its_lines(lines: list[str]) -> None:
    """Ratings, minutes, rejects and repairs of a block equal those of `parse` line by line, whatever stands in the lines."""
    rows = rows_of(Block("t/0", range(len(lines)), lines, {}), RULES)
    events = [parse(line, RULES) for line in lines]
    plain = [event.event if isinstance(event, Repaired) else event for event in events]
    minutes: Counter[tuple[int, str]] = Counter((event.user, event.film) for event in plain if isinstance(event, Watch))
    assert [row.rsplit(",", 2)[0] for row in rows.watches] == [f"{user},{film},{n}" for (user, film), n in minutes.items()]
    assert rows.ratings == [
        f"{event.user},{event.film},{event.stars:g},{event.time}" for event in plain if isinstance(event, Rating)
    ]
    assert [aside.line for aside in rows.rejected] == [event.line for event in plain if isinstance(event, Reject)]
    assert rows.counts.repaired == sum(isinstance(event, Repaired) for event in events)
    assert rows.counts.lines == rows.counts.kinds.total() + rows.counts.rejected.total()


def test_lines_with_breaks_inside_are_not_read_together() -> None:
    """What a broker delivers may hold a line break: such a block is read line by line."""
    assert watches_of([SOUND[0] + "\n" + SOUND[1]]) is None
    assert watches_of(SOUND[:1]) == [("2023-10-25T07:20:57", "135941", "interstellar+2014")]


def test_users_up_to_the_highest_are_taken_whatever_it_is() -> None:
    """Numbers on either side of bounds with other digits: together as alone."""
    for highest in (7, 10, 999, 1_000, 305_099, 1_999_999):
        rules = Rules(user_max=highest)
        users = sorted({0, 1, 9, highest // 2, highest // 10, highest - 1, highest, highest + 1, highest * 10})
        lines = [f"2024-10-14T15:22:07,{user},GET /data/m/interstellar+2014/1.mpg" for user in users]
        found = watches_of(lines, rules)
        assert found is not None
        assert [int(user) for _, user, film in found if film] == [user for user in users if user <= highest]
        assert all(isinstance(parse(line, rules), Reject) for line, (_, _, film) in zip(lines, found, strict=True) if not film)
