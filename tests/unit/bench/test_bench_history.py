from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from tests.bench.history import MOST_SECONDS, Report, parsing, rows, slope
from tests.bench.installation import END, Size
from tests.bench.measure import Stage
from tests.bench.stream import DAMAGED, DAY, LINES_A_SECOND, Audience, block_rows

HOUR = DAY // 24


@pytest.mark.parametrize(("days", "versions"), [(0.4, 3), (9.5, 4), (10, 4), (365, 182)])
def test_versions_and_open_rows_cover_the_whole_history(days: float, versions: int) -> None:
    """Each begins where the last one ended; what no version has is the last stretch."""
    *closed, last = stretches = Size(days).stretches()
    assert len(closed) == versions
    assert (stretches[0][0], last[1]) == (END - round(DAY * days), END)
    assert [end for _, end in closed] == [begin for begin, _ in stretches[1:]]
    assert last[1] - last[0] == round(DAY * min(2, days / 4))


def test_the_rows_of_blocks_have_each_minute_of_each_viewing_once() -> None:
    """As a collection would have made them: of a block of 100,000 lines one row a viewing."""
    viewings = Audience(1000, 100).viewings(END - HOUR // 4, END, 1)
    minutes: Counter[tuple[int, int]] = Counter()
    firsts = defaultdict(list)
    for block in block_rows(viewings):
        for user, film, count, second in zip(*(column.tolist() for column in block), strict=True):
            minutes[user, film] += count
            firsts[user, film].append(second)
        assert block.minutes.sum() < 100_000
        assert block.minutes.max() <= 4
    expected: Counter[tuple[int, int]] = Counter()
    starts: dict[tuple[int, int], int] = {}
    for user, film, count, second in zip(*(column.tolist() for column in viewings), strict=True):
        expected[user, film] += count
        starts.setdefault((user, film), second)
    assert minutes == expected
    assert {pair: min(seconds) for pair, seconds in firsts.items()} == starts


def test_lines_come_at_our_rate_and_false_ids_at_the_share_of_the_stream() -> None:
    """Within 2 %, and 20 % of the few false ones."""
    viewings = (audience := Audience(10_000, 1000)).viewings(END - DAY // 4, END, 1)
    lines = int(viewings.minutes.sum())
    assert lines == pytest.approx(LINES_A_SECOND * DAY / 4, rel=0.02)
    assert len(audience.damaged(viewings, 1).user) == pytest.approx(DAMAGED * lines, rel=0.2)


def shorter_ids(film: str) -> set[str]:
    """The ids that are one letter or digit shorter."""
    return {film[:at] + film[at + 1 :] for at in range(len(film)) if film[at].isalnum()}


def test_each_false_id_is_a_true_one_with_a_character_too_many_and_no_true_id_is() -> None:
    """A damaged id is no film of the catalogue: the benchmark knows which ids are which."""
    audience = Audience(1000, 100)
    viewings = audience.viewings(END - 2 * HOUR, END, 1)
    true, false = set(audience.films), set(audience.damaged(viewings, 1).film_id.tolist())
    assert len(false) > 500
    assert all(shorter_ids(film) & true for film in false)
    assert not any(shorter_ids(film) & true for film in true)


def report(days: float, seconds: float, peak_gb: float, parts: float = 10) -> Report:
    """Of a run whose reading took a minute, or more."""
    stages = {"parts": Stage(parts, 1), "history": Stage(30, 1), "read": Stage(20, 1), "total": Stage(seconds, peak_gb)}
    return Report(Size(days), seconds, peak_gb, stages, watches_gb=2, disk_gb=40, films=27_001)


def test_a_year_is_held_against_the_promised_limits() -> None:
    """Time, memory, reading, watches, disk and a catalogue without false films; the stages have no goal of their own."""
    time_row, memory_row, read_row, watches_row, disk_row, films_row, *stage_rows = rows(report(365, 1.5 * MOST_SECONDS, 6))
    assert (time_row.met, time_row.ratio) == (False, 1.5)
    assert (memory_row.ratio, memory_row.met) == (0.75, True)
    assert read_row.ratio == 0.2
    assert watches_row.ratio == pytest.approx(2 / 3)
    assert (films_row.baseline, films_row.met) == (27_000, False)
    assert disk_row.ratio == pytest.approx(40 / Size(365).needed_gb)
    assert [(each.ours, each.goal) for each in stage_rows] == [(10, None), (30, None), (20, None), (1.5 * MOST_SECONDS, None)]


def test_a_further_day_is_what_one_age_takes_beyond_the_other() -> None:
    """Compared with the six minutes and 1.7 GB that a day took before."""
    seconds, memory, _ = slope(report(10, 400, 2), report(100, 2200, 6.5))
    assert (seconds.ours, seconds.baseline) == (20, 360)
    assert (memory.ours, memory.baseline) == (0.05, 1.7)


def test_a_new_part_may_not_cost_more_in_an_old_installation() -> None:
    """A fifth more at the most: it has the rows of two days, whatever the age."""
    first = report(10, 400, 2)
    assert parsing(first, report(365, 3000, 6, parts=11)).met
    assert not parsing(first, report(365, 3000, 6, parts=13)).met
