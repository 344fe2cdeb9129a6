from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.events import DEFAULT_RULES, Rules
from auto_deployment.common.errors import RefusedError, WrongUseError
from auto_deployment.common.json_file import StateError
from auto_deployment.ingestion.collector import FILE, CollectionState, Collector, check_rejects, check_trainable, lag_grows
from auto_deployment.ingestion.rows import Counts, KeptLine, counts_text, rows_of
from auto_deployment.ingestion.sources import LONGEST_READ, Block, FileSource, ReadPlan, RetentionGap
from auto_deployment.ingestion.tables import RATING_HEADER, WATCH_HEADER, TableError, Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from auto_deployment.ingestion.sources import Marks

LINES = [
    "2024-10-14T15:22,7,GET /data/m/b+1999/1.mpg",
    "2024-10-14T15:22:01,8,GET /rate/a+1999=4",
    "2024-10-14T15:24:02,7,GET /data/m/b+1999/3.mpg",
    "2024-10-14T15:23:03,7,GET /data/m/b+1999/2.mpg",
    "2024-10-14T15:22:04,7,GET /rate/a+1999=5",
    "2024-10-14T15:22:05,8,GET /rate/aX+1999=5",
    "2024-10-14T15:22:06,8,GET /data/m/a+1999/1.mpg",
    "2024-10-14T15Z:22:07,8,GET /rate/a+1999=2",
    "2024-10-14T15:22:08,9,GET /create_account",
    "2024-10-14T15:22:09.123,9,recommendation request s:8082, status 200, result: a+1999, 5 ms",
    "2024-10-14T15:22:10,7,GET /data/m/a+1999/1.mpg",
    "2024-10-14T15:22:11,6,GET /rate/b+1999=",
]
CONTENT = "\n".join(LINES).encode()


def block_of(lines: Sequence[str], first: int = 1) -> Block:
    """Lines of a file, numbered from `first`."""
    return Block("movie.log", range(first, first + len(lines)), list(lines), {})


def file_of(folder: Path, content: bytes, name: str = "movie.log") -> Path:
    """A file of that content."""
    path = folder / name
    path.write_bytes(content)
    return path


def collector_of(folder: Path) -> Collector:
    """A collector of the tables in a folder, as a new run makes it."""
    return Collector(Tables(folder / "data"), folder / "data" / "collected.json", DEFAULT_RULES)


def collect(folder: Path, *paths: Path, block_lines: int = 100_000, may_continue: Callable[[], bool] = lambda: True) -> Counts:
    """A whole run over files; the counts of all runs."""
    collector = collector_of(folder)
    list(collector.collect(FileSource(paths, block_lines), may_continue))
    return collector.state.counts


def contents(folder: Path) -> list[bytes]:
    """Both tables and the lines kept aside, byte for byte."""
    tables = Tables(folder / "data")
    return [path.read_bytes() for path in (tables.ratings, tables.watches, tables.quarantine, tables.repaired)]


def asides(folder: Path) -> list[KeptLine]:
    """The lines in quarantine."""
    return [KeptLine(**json.loads(line)) for line in Tables(folder / "data").quarantine.read_text().splitlines()]


def test_a_block_becomes_rows_of_both_tables() -> None:
    """Ratings in the order of their lines; a row of minutes for each watched film, with the time of the latest minute."""
    rows = rows_of(block_of(LINES))
    assert rows.ratings == [
        "8,a+1999,4,2024-10-14T15:22:01",
        "7,a+1999,5,2024-10-14T15:22:04",
        "8,a+1999,2,2024-10-14T15:22:07",
    ]
    assert rows.watches == [
        "7,b+1999,3,2024-10-14T15:22:00,2024-10-14T15:24:02",
        "8,a+1999,1,2024-10-14T15:22:06,2024-10-14T15:22:06",
        "7,a+1999,1,2024-10-14T15:22:10,2024-10-14T15:22:10",
    ]


def test_every_line_of_a_block_is_counted_once() -> None:
    """Each line is of a kind or rejected; the repaired ones are of their kind too."""
    counts = rows_of(block_of(LINES)).counts
    assert counts.lines == len(LINES) == counts.kinds.total() + counts.rejected.total()
    assert counts.kinds == {"watch": 5, "rating": 3, "new_account": 1, "recommendation": 1}
    assert counts.rejected == {"film": 1, "rating_missing": 1}
    assert counts.repaired == 1


def test_what_is_kept_aside_says_where_it_stood() -> None:
    """A rejected or repaired line is kept whole, with its source and its number there."""
    rows = rows_of(block_of(LINES, 1001))
    assert rows.rejected == [
        KeptLine("film", LINES[5], "movie.log", 1006),
        KeptLine("rating_missing", LINES[11], "movie.log", 1012),
    ]
    assert rows.repaired == [KeptLine("repaired", LINES[7], "movie.log", 1008)]


def test_a_line_that_is_too_long_alone_is_too_long_in_a_block() -> None:
    """Neither a minute nor a rating of a film of ten thousand letters is accepted."""
    long = [line.replace("b+", "b" * 10_000 + "+").replace("a+", "a" * 10_000 + "+") for line in LINES[:2]]
    assert rows_of(block_of([*long, LINES[2]])).counts.rejected == {"too_long": 2}
    assert rows_of(block_of([*long, LINES[2]])).watches == ["7,b+1999,1,2024-10-14T15:24:02,2024-10-14T15:24:02"]


def test_rules_reach_the_lines() -> None:
    """Scale and highest user are those that were given; halves stay halves."""
    rows = rows_of(block_of(["2024-10-14T15:22:01,8,GET /rate/a+1999=4.5", LINES[0]]), Rules(0.5, 5.0, 7))
    assert rows.ratings == []
    assert rows.counts.rejected == {"user_out_of_range": 1}
    assert rows_of(block_of(["2024-10-14T15:22:01,8,GET /rate/a+1999=4.5"]), Rules(0.5, 5.0)).ratings == [
        "8,a+1999,4.5,2024-10-14T15:22:01"
    ]


def test_counts_add_up() -> None:
    """The counts of two blocks together."""
    total = Counts(2, Counter(watch=1), 1, Counter(film=1))
    total.add(Counts(3, Counter(watch=1, rating=1), 0, Counter(film=1)))
    assert total == Counts(5, Counter(watch=2, rating=1), 1, Counter(film=2))


def test_watches_are_added_up_within_a_block_only(tmp_path: Path) -> None:
    """What was watched across the end of a block gives a row in each, so that rows depend on the source alone."""
    collect(tmp_path, file_of(tmp_path, CONTENT), block_lines=3)
    assert Tables(tmp_path / "data").watches.read_text().splitlines() == [
        WATCH_HEADER,
        "7,b+1999,2,2024-10-14T15:22:00,2024-10-14T15:24:02",
        "7,b+1999,1,2024-10-14T15:23:03,2024-10-14T15:23:03",
        "8,a+1999,1,2024-10-14T15:22:06,2024-10-14T15:22:06",
        "7,a+1999,1,2024-10-14T15:22:10,2024-10-14T15:22:10",
    ]


@pytest.mark.parametrize("block_lines", [1, 3, 12, 13])
def test_reading_broken_off_between_blocks_changes_nothing(tmp_path: Path, block_lines: int) -> None:
    """Runs that may do a block each leave the very bytes of one run over all, whatever the size of a block."""
    path = file_of(tmp_path, CONTENT)
    (tmp_path / "whole").mkdir()
    (tmp_path / "pieces").mkdir()
    whole = collect(tmp_path / "whole", path, block_lines=block_lines)
    for _ in range(len(LINES)):
        pieces = collect(tmp_path / "pieces", path, block_lines=block_lines, may_continue=lambda: False)
    assert contents(tmp_path / "pieces") == contents(tmp_path / "whole")
    assert pieces == whole


@pytest.mark.parametrize("torn", [b"", b"8,a+1999,5,2024-10", b"8,a+1999,5,2024-10-14T15:22:01\n" * 5])
@pytest.mark.parametrize("killed_after", range(5))
def test_a_killed_run_is_taken_back_to_its_record_and_goes_on(tmp_path: Path, killed_after: int, torn: bytes) -> None:
    """Whatever it wrote beyond its last record is cut off: the tables are those of a run that was not killed."""
    path = file_of(tmp_path, CONTENT)
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = collect(tmp_path / "whole", path, block_lines=3)
    killed = collector_of(tmp_path / "killed").collect(FileSource([path], 3), lambda: True)
    for _ in range(killed_after):
        next(killed, None)
    if killed_after:
        for table in (Tables(tmp_path / "killed" / "data").ratings, Tables(tmp_path / "killed" / "data").quarantine):
            with table.open("ab") as file:
                file.write(torn)
    assert collect(tmp_path / "killed", path, block_lines=3) == whole
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_run_that_was_killed_is_ended_by_one_with_other_files(tmp_path: Path) -> None:
    """First the rest of the killed run, then the files of this run. No line is read twice."""
    first, second = file_of(tmp_path, CONTENT), file_of(tmp_path, LINES[1].encode(), "other.log")
    killed = collector_of(tmp_path).collect(FileSource([first], 3), lambda: True)
    next(killed)
    assert collect(tmp_path, second, block_lines=3).lines == len(LINES) + 1
    assert collect(tmp_path, first, second, block_lines=3).lines == len(LINES) + 1


def test_the_file_of_a_killed_run_is_missed_by_its_name(tmp_path: Path) -> None:
    """The unread rest is an error. With the file back, the run continues."""
    first, second = file_of(tmp_path, CONTENT), file_of(tmp_path, LINES[1].encode(), "other.log")
    killed = collector_of(tmp_path).collect(FileSource([first], 3), lambda: True)
    next(killed)
    first.rename(tmp_path / "away.log")
    with pytest.raises(WrongUseError, match=f"{first}: No such file"):
        collect(tmp_path, second, block_lines=3)
    (tmp_path / "away.log").rename(first)
    assert collect(tmp_path, second, block_lines=3).lines == len(LINES) + 1


def test_no_line_is_read_twice(tmp_path: Path) -> None:
    """A second run over the same file adds nothing; over a longer one what is new; over another one all of it."""
    path = file_of(tmp_path, CONTENT + b"\n")
    collect(tmp_path, path)
    before = contents(tmp_path)
    collect(tmp_path, path, path)
    assert contents(tmp_path) == before
    file_of(tmp_path, CONTENT + b"\n" + LINES[1].encode())
    assert collect(tmp_path, path).lines == len(LINES) + 1
    assert contents(tmp_path)[0] == before[0] + b"8,a+1999,4,2024-10-14T15:22:01\n"
    file_of(tmp_path, LINES[4].encode())
    assert collect(tmp_path, path).lines == len(LINES) + 2


def test_tables_are_only_appended_to_under_one_header(tmp_path: Path) -> None:
    """A later run leaves what is there as it is and adds its rows after it."""
    collect(tmp_path, file_of(tmp_path, CONTENT))
    before = contents(tmp_path)
    collect(tmp_path, file_of(tmp_path, CONTENT, "same.log"))
    headers = f"{RATING_HEADER}\n".encode(), f"{WATCH_HEADER}\n".encode(), b"", b""
    added = [text.removeprefix(header) for text, header in zip(before, headers, strict=True)]
    added[2:] = [text.replace(b"movie.log", b"same.log") for text in added[2:]]
    assert contents(tmp_path) == [text + rows for text, rows in zip(before, added, strict=True)]
    assert [text.split(b",")[0] for text in before[:2]] == [b"user_id", b"user_id"]


def test_tables_without_a_row_have_their_header(tmp_path: Path) -> None:
    """A stream of ratings alone leaves a table of watches that can be read."""
    collect(tmp_path, file_of(tmp_path, LINES[1].encode()))
    assert contents(tmp_path)[1] == f"{WATCH_HEADER}\n".encode()


def test_each_block_is_on_the_disk_when_it_is_reported(tmp_path: Path) -> None:
    """With how much is left after it, to nought."""
    collector = collector_of(tmp_path)
    left = collector.collect(FileSource([file_of(tmp_path, CONTENT)], 5), lambda: True)
    assert next(left) == len("\n".join(LINES[5:]))
    assert collector.state.counts.kinds == {"watch": 3, "rating": 2}
    assert CollectionState.load(tmp_path / "data" / "collected.json") == collector.state
    assert len(contents(tmp_path)[0].splitlines()) == 3
    assert list(left)[-1] == 0
    assert len(contents(tmp_path)[0].splitlines()) == 4


@pytest.mark.parametrize(
    "original",
    [
        b"\xff\xfe,12,GET /rate/a+1999=4",
        "2024-10-14T15:22:01,8,GET /rate/caf\u00e9+1999=4".encode(),
        "2024-10-14T15:22:01,8,GET /rate/caf\u00e9+1999=4".encode("latin-1"),
        b'"quoted",\\,\x00\x07\t',
        b"a\rb",
        b"",
    ],
)
def test_a_rejected_line_can_be_had_back_byte_by_byte(tmp_path: Path, original: bytes) -> None:
    """Quarantine is ASCII JSON, and yet bytes that are no UTF-8 are not lost."""
    collect(tmp_path, file_of(tmp_path, original + b"\n" + LINES[1].encode()))
    (kept,) = asides(tmp_path)
    assert kept.line.encode("utf-8", "surrogateescape") == original
    assert str(tmp_path / "movie.log") in kept.source
    assert kept.number == 1
    assert contents(tmp_path)[2].isascii()
    assert len(contents(tmp_path)[0].splitlines()) == 2


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"").rstrip(b"\r")), max_size=8))
def test_no_byte_of_a_source_is_lost(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    """Whatever stands in a file: each line is kept, in order and with its number, and nothing is raised."""
    folder = tmp_path_factory.mktemp("bytes")
    counts = collect(folder, file_of(folder, b"".join(line + b"\n" for line in lines)), block_lines=3)
    assert counts.lines == counts.rejected.total() == len(lines)
    kept = asides(folder) if lines else []
    assert [each.line.encode("utf-8", "surrogateescape") for each in kept] == lines
    assert [each.number for each in kept] == list(range(1, len(lines) + 1))


def test_the_original_of_a_repaired_line_is_kept(tmp_path: Path) -> None:
    """The row has the repaired time; the damaged line lies aside."""
    collect(tmp_path, file_of(tmp_path, LINES[7].encode() + b"\r\n"))
    ratings, _, rejected, repaired = contents(tmp_path)
    assert ratings.decode().splitlines()[1:] == ["8,a+1999,2,2024-10-14T15:22:07"]
    assert json.loads(repaired)["line"] == LINES[7]
    assert rejected == b""


def test_a_line_beyond_a_mebibyte_comes_in_pieces(tmp_path: Path) -> None:
    """A file without a line end cannot fill the memory; the pieces together are the line, and the next line is taken."""
    long = b"\xc3\xa9x" * LONGEST_READ
    counts = collect(tmp_path, file_of(tmp_path, long + b"\n" + LINES[1].encode()))
    assert counts.kinds == {"rating": 1}
    assert counts.rejected == {"too_long": 3, "empty": 1}
    pieces = [each.line.encode("utf-8", "surrogateescape") for each in asides(tmp_path)]
    assert max(map(len, pieces)) == LONGEST_READ
    assert b"".join(pieces) == long


def test_rows_that_no_record_accounts_for_are_left_alone(tmp_path: Path) -> None:
    """A record that was lost or damaged costs no row: the run is refused by the file's name."""
    collect(tmp_path, file_of(tmp_path, CONTENT))
    before = contents(tmp_path)
    record = tmp_path / "data" / "collected.json"
    for damage in (
        None,
        b"",
        b"[]",
        b"{}",
        b'{"format": 0}',
        b'{"format": 1, "plans": {}}',
        record.read_bytes().replace(b'"lines"', b'"rows"', 1),
    ):
        record.unlink()
        if damage is not None:
            record.write_bytes(damage)
        with pytest.raises(StateError, match=str(record)):
            collector_of(tmp_path)
        assert contents(tmp_path) == before
        record.touch()


def test_a_table_that_lost_rows_is_not_added_to(tmp_path: Path) -> None:
    """Shorter than recorded: the run ends with the table's name and what to do."""
    collect(tmp_path, file_of(tmp_path, CONTENT))
    ratings = Tables(tmp_path / "data").ratings
    ratings.write_bytes(ratings.read_bytes()[:-5])
    with pytest.raises(TableError, match=rf"{ratings}: 121 bytes, but 126 are recorded: rows are missing; restore"):
        collector_of(tmp_path)


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Marks, plans under way, sizes, counts, gaps and lags."""
    killed = collector_of(tmp_path)
    next(killed.collect(FileSource([file_of(tmp_path, CONTENT)], 3), lambda: True))
    killed.note_lag(7)
    assert CollectionState.load(tmp_path / "data" / "collected.json") == killed.state
    assert list(killed.state.plans) == ["files"]
    assert CollectionState.load(tmp_path / "none.json") is None


class Hole:
    """A source of which retention removed a part."""

    name, unit = "hole", "offsets"

    def plan(self, marks: Marks) -> ReadPlan:
        """Ten offsets."""
        assert marks == {}
        return ReadPlan({"t/0": 0}, {"t/0": 10})

    def first_marks(self, plan: ReadPlan, marks: Marks) -> dict[str, dict[str, Any]]:
        """Another partition has nothing to read yet."""
        assert (plan.starts, marks) == ({"t/0": 0}, {})
        return {"t/1": {"offset": 3}}

    def resume(self, plan: ReadPlan, marks: Marks) -> ReadPlan:
        """All that is left."""
        assert marks
        return plan

    def blocks(self, plan: ReadPlan, marks: Marks) -> Iterator[Block | RetentionGap]:
        """Five are gone."""
        assert (plan.ends, marks) == ({"t/0": 10}, {"t/1": {"offset": 3}})
        yield RetentionGap("t/0", 0, 5, {"offset": 5})
        yield Block("t/0", [5, 8], [LINES[1], LINES[4]], {"offset": 10})

    def remaining(self, plan: ReadPlan, marks: Marks) -> int:
        """To the end."""
        return plan.ends["t/0"] - int(marks["t/0"]["offset"])


def test_what_retention_removed_is_on_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With its offsets, and as an error in the log; what is left is read."""
    collector = collector_of(tmp_path)
    assert list(collector.collect(Hole(), lambda: True)) == [5, 0]
    assert collector.state.gaps == [{"source": "t/0", "start": 0, "stop": 5, "lines": 5}]
    assert collector.state.marks == {"t/0": {"offset": 10}, "t/1": {"offset": 3}}
    assert len(contents(tmp_path)[0].splitlines()) == 3
    assert "offsets 0 to 4 are gone" in caplog.text


def test_only_a_run_that_was_cut_short_is_capped(tmp_path: Path) -> None:
    """Lines that arrive during a run belong to the next run. Without a time limit there is no lag."""
    path = file_of(tmp_path, CONTENT)
    collector = collector_of(tmp_path)
    list(collector.collect(FileSource([path], 3), lambda: False))
    assert collector.capped
    collector = collector_of(tmp_path)
    list(collector.collect(FileSource([path], 3), lambda: True))
    assert not collector.capped


def test_a_version_begins_new_counts(tmp_path: Path) -> None:
    """Once for each version; how far the stream was read and what a run left unread stay."""
    collect(tmp_path, file_of(tmp_path, CONTENT))
    collector = collector_of(tmp_path)
    for lag in (1, 2, 3, 4):
        collector.note_lag(lag)
    collector.begin_version(1, 0)
    record = collector_of(tmp_path).state
    assert (record.counts, record.gaps, record.lags) == (Counts(), [], [2, 3, 4])
    assert collect(tmp_path, tmp_path / "movie.log") == Counts()
    counts = collect(tmp_path, file_of(tmp_path, CONTENT, "other.log"))
    collector_of(tmp_path).begin_version(1, 0)
    assert collector_of(tmp_path).state.counts == counts


@pytest.mark.parametrize(("lags", "grows"), [([], False), ([5], False), ([5, 5], False), ([9, 5, 6], True), ([1, 6, 5], False)])
def test_a_growing_lag_is_seen(lags: list[int], *, grows: bool) -> None:
    """The last run against the one before it."""
    assert lag_grows(lags) == grows


def counts_of(kind: str, taken: int, **rejected: int) -> Counts:
    """Counts of lines of one kind."""
    of_kind = Counter({f"{kind}/{reason}": count for reason, count in rejected.items()})
    return Counts(taken + sum(rejected.values()), Counter({kind: taken}), 0, Counter(rejected), of_kind)


@pytest.mark.parametrize(
    ("lines", "rejected", "share"),
    [(1_000, 50, 0.05), (1_000, 61, 0.05), (19, 18, 0.05), (2, 2, 0.05), (20, 2, 0.05), (1_000, 0, 0.0), (3_000, 2_999, 1.0)],
)
def test_rejects_that_chance_could_have_made_are_no_reason_to_refuse(lines: int, rejected: int, share: float) -> None:
    """The lower bound of their share has to be above the limit; of few lines, all have to be rejected."""
    check_rejects(counts_of("rating", lines - rejected, film=rejected), share, DEFAULT_RULES)


@pytest.mark.parametrize(
    ("lines", "rejected", "share"),
    [(1_000, 70, 0.05), (20, 5, 0.05), (5, 5, 0.05), (100_000, 20, 0.0001), (100_000, 5_200, 0.05)],
)
def test_too_many_rejects_refuse_the_collection(lines: int, rejected: int, share: float) -> None:
    """With the counts and the setting's name."""
    text = rf"{rejected:,} of {lines:,} \w+ were rejected, more than MAX_REJECT_SHARE \({share:g}\): film {rejected:,}"
    with pytest.raises(RefusedError, match=text):
        check_rejects(counts_of("rating", lines - rejected, film=rejected), share, DEFAULT_RULES)


def test_rejects_of_the_rare_kind_are_not_lost_in_the_mass() -> None:
    """A hundred thousand sound watches, and three ratings of four rejected: the scale of the settings is wrong."""
    counts = counts_of("rating", 1_550, rating_above_scale=5_000, film=150)
    counts.add(counts_of("watch", 400_000, film=200))
    text = (
        r"5,000 of 6,700 ratings lie above RATING_MAX \(5\): is the scale 1 to 10\?; 5,150 of 6,700 ratings were rejected, "
        r"more than MAX_REJECT_SHARE \(0\.05\): rating_above_scale 5,000, film 150"
    )
    with pytest.raises(RefusedError, match=text):
        check_rejects(counts, 0.05, DEFAULT_RULES)


@pytest.mark.parametrize(
    ("rules", "reason", "text"),
    [
        (Rules(1, 10), "rating_above_scale", r"above RATING_MAX \(10\): is the scale 1 to 100\?"),
        (Rules(1, 100), "rating_above_scale", r"above RATING_MAX \(100\): what is the scale\?"),
        (Rules(1, 5), "rating_below_scale", r"below RATING_MIN \(1\): does the scale begin lower\?"),
    ],
)
def test_ratings_outside_of_the_scale_are_named(rules: Rules, reason: str, text: str) -> None:
    """With the bound that they break."""
    with pytest.raises(RefusedError, match=f"30 of 100 ratings lie {text}"):
        check_rejects(counts_of("rating", 70, **{reason: 30}), 0.05, rules)


def test_each_collection_is_judged_by_itself(tmp_path: Path) -> None:
    """One with half of its lines rejected is refused, once; its good rows stay, and a sound one after it passes."""
    sound = b"".join(b"2026-01-05T08:00:00,%d,GET /rate/a+film+1999=4\n" % user for user in range(100))
    bad = sound + b"rubbish\n" * 100
    with pytest.raises(RefusedError, match="100 of 200 lines") as raised:
        collect_and_judge(tmp_path, file_of(tmp_path, bad))
    kept = tmp_path / "data" / "quarantine" / "rejected.jsonl"
    assert f"; {kept} has these lines with their reasons" in str(raised.value)
    assert str(raised.value).endswith("; the form of a line: docs/stream.md")
    assert len(kept.read_text().splitlines()) == 100
    assert collector_of(tmp_path).state.last.lines == 200
    collector = collector_of(tmp_path)
    collector.judge(0.05)  # nothing came in since
    assert collect_and_judge(tmp_path, file_of(tmp_path, sound, "second.log")) == 100
    assert collector_of(tmp_path).state.counts.lines == 300
    assert len((tmp_path / "data" / "clean_rating.csv").read_text().splitlines()) == 201


def test_a_collection_that_was_killed_is_judged_with_the_run_that_continues_it(tmp_path: Path) -> None:
    """Its lines are neither forgotten nor counted twice."""
    bad = file_of(tmp_path, b"rubbish\n" * 30)
    collector = collector_of(tmp_path)
    next(collector.collect(FileSource([bad], 10), lambda: True))  # killed after the first block
    with pytest.raises(RefusedError, match="30 of 30 lines"):
        collect_and_judge(tmp_path, bad)


def test_a_new_version_begins_with_nothing_to_judge(tmp_path: Path) -> None:
    """The counts begin anew, also those of judged lines."""
    assert collect(tmp_path, file_of(tmp_path, CONTENT)).lines > 0
    collector = collector_of(tmp_path)
    collector.begin_version(1, 0)
    collector.judge(0.0)
    assert collector.state.last == Counts()


def test_what_software_1_0_collected_is_not_judged_again(tmp_path: Path) -> None:
    """It refused every run for weeks after one bad collection."""
    collect(tmp_path, file_of(tmp_path, b"rubbish\n" * 30))
    path = tmp_path / "data" / "collected.json"
    record = json.loads(path.read_bytes())
    del record["judged"], record["last"], record["counts"]["rejected_kinds"]
    path.write_text(json.dumps(record))
    collector_of(tmp_path).judge(0.05)
    assert collector_of(tmp_path).state.counts.rejected == Counter(fields_missing=30)


def collect_and_judge(folder: Path, *paths: Path) -> int:
    """Collect files and judge them; how many lines came in."""
    collector, source = collector_of(folder), FileSource(paths)
    list(collector.collect(source, lambda: True))
    collector.judge(0.05, source.hints())
    return collector.state.last.lines


@pytest.mark.parametrize(
    ("content", "format_name"),
    [
        ("2026-01-05T08:00:00,1,GET /rate/a+film+1999=4\n".encode("utf-16"), "UTF-16"),
        ("2026-01-05T08:00:00,1,GET /rate/a+film+1999=4\n".encode("utf-16-be"), "UTF-16"),
        (gzip.compress(b"2026-01-05T08:00:00,1,GET /rate/a+film+1999=4\n"), "gzip"),
    ],
    ids=["utf-16", "utf-16-be", "gzip"],
)
def test_another_format_is_named(tmp_path: Path, content: bytes, format_name: str) -> None:
    """By its first bytes: all of its lines are rejected, and the reasons alone do not help."""
    path = tmp_path / "movie.log"
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=rf"movie\.log looks like {format_name}.*were rejected"):
        collect_and_judge(tmp_path, path)


def test_a_file_of_another_format_does_not_hide_behind_a_sound_one(tmp_path: Path) -> None:
    """Few lines of many are rejected then, and the whole file is lost. Read once, it is not held against later files."""
    sound = file_of(tmp_path, b"".join(b"2026-01-05T08:00:00,%d,GET /rate/a+film+1999=4\n" % user for user in range(900)))
    packed = file_of(tmp_path, gzip.compress(sound.read_bytes()), "movie.log.gz")
    with pytest.raises(RefusedError, match=r"movie\.log\.gz looks like gzip: unpack it"):
        collect_and_judge(tmp_path, sound, packed)
    other = file_of(tmp_path, b"2026-01-05T08:00:00,7,GET /rate/a+film+1999=4\nrubbish\n", "other.log")
    assert collect_and_judge(tmp_path, packed, other) == 2


def test_what_is_no_file_of_the_disk_is_refused(tmp_path: Path) -> None:
    """A run that was broken off could not read it again; a pipe that nobody writes to would be waited for without end."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(WrongUseError, match=r"is not a file of the disk.*write the lines to a file"):
            FileSource([path])
    with pytest.raises(WrongUseError, match="is a folder: name a file of stream lines"):
        FileSource([tmp_path])


def test_no_line_or_no_rating_refuses_the_run() -> None:
    """There is nothing to train on. The reason names the other lines."""
    with pytest.raises(RefusedError, match="the input is empty"):
        check_trainable(Counts())
    with pytest.raises(RefusedError, match=r"none of 5 lines is a rating \(all of other kinds\)"):
        check_trainable(Counts(5, Counter(watch=5)))
    with pytest.raises(RefusedError, match=r"none of 5 lines is a rating \(film 5\)"):
        check_trainable(Counts(5, Counter(), 0, Counter(film=5)))


def test_counts_are_reported_the_most_frequent_first() -> None:
    """As a person reads them, with thousands apart."""
    assert counts_text(Counter(film=2, user=12_345)) == "user 12,345, film 2"


def test_the_real_logs_are_accounted_for_line_by_line(tmp_path: Path, real_ratings: Path, real_watches: Path) -> None:
    """10,614 of 10,619 ratings and 4,366 of 4,367 minutes are in the tables, the six other lines in quarantine."""
    total = collect(tmp_path, real_ratings, real_watches, block_lines=1_000)
    assert total.lines == 14_986
    assert total.kinds == {"rating": 10_614, "watch": 4_366}
    assert total.rejected == {"film_and_rating_missing": 2, "film": 3, "user": 1}
    ratings, watches, *_ = contents(tmp_path)
    assert len(ratings.splitlines()) == 10_615
    assert sum(int(row.split(b",")[2]) for row in watches.splitlines()[1:]) == 4_366
    originals = real_ratings.read_text().splitlines() + real_watches.read_text().splitlines()
    assert len(asides(tmp_path)) == 6
    assert {each.line for each in asides(tmp_path)} < set(originals)


def test_the_state_of_older_software_is_taken_over_by_a_run_only(tmp_path: Path) -> None:
    """Otherwise its watches would be lost in silence."""
    collect(tmp_path, file_of(tmp_path, CONTENT))
    state = json.loads((tmp_path / "data" / FILE).read_text())
    state["sizes"]["clean_watch"] = state["sizes"].pop("open_watch")
    (tmp_path / "data" / FILE).write_text(json.dumps(state))
    with pytest.raises(StateError, match=r"software before 1\.1 wrote this file"):
        collector_of(tmp_path)
