from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.database import Database
from auto_deployment.common.errors import RefusedError
from auto_deployment.ingestion.tables import EARLIER_WATCH_HEADER, WATCH_HEADER, TableError
from auto_deployment.ingestion.watch_parts import check, relation, roll

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DAY = "2026-01-05T08"
TIMES = "TIMESTAMP '2026-01-05' AS first_at, TIMESTAMP '2026-01-05' AS last_at"
GOOD = f"1::BIGINT AS user_id, 'a+' AS movie_id, 2 AS minutes, {TIMES}"


def rolled(folder: Path, rows: Sequence[str], header: str = WATCH_HEADER, name: str = "part.parquet") -> Path:
    """The part of these rows."""
    (folder / "rows.csv").write_text("\n".join([header, *rows, ""]))
    roll(folder / "rows.csv", folder / name, folder / "scratch")
    return folder / name


def rows_in(folder: Path, *parts: Path) -> list[tuple[object, ...]]:
    """The rows of parts, times as text."""
    with Database(folder / "scratch") as database:
        return database.rows(
            "SELECT user_id, movie_id, minutes, strftime(first_at, '%H:%M'), strftime(last_at, '%H:%M'), first_known "
            f"FROM {relation(parts)}"
        )


def test_a_part_has_a_row_for_each_pair(tmp_path: Path) -> None:
    """Sorted by user and film: all minutes, the first and the last time."""
    rows = [
        f"9,a+1999,2,{DAY}:30:00,{DAY}:31:00",
        f"10,b+,1,{DAY}:05:00,{DAY}:05:00",
        f"9,a+1999,3,{DAY}:10:00,{DAY}:12:00",
        f"9,a+,1,{DAY}:40:00.123,{DAY}:40:00.123456789",
    ]
    assert rows_in(tmp_path, rolled(tmp_path, rows)) == [
        (9, "a+", 1, "08:40", "08:40", True),
        (9, "a+1999", 5, "08:10", "08:31", True),
        (10, "b+", 1, "08:05", "08:05", True),
    ]


def test_the_same_watches_give_the_same_bytes_whatever_the_blocks(tmp_path: Path) -> None:
    """Minutes in other blocks and in another order are the same part."""
    draw = random.Random(5)
    minutes = [(draw.randrange(50), draw.randrange(20), draw.randrange(60)) for _ in range(3_000)]
    single = [f"{user},film{film}+,1,{DAY}:{minute:02}:00,{DAY}:{minute:02}:00" for user, film, minute in minutes]
    blocks: dict[tuple[int, int, int], list[int]] = {}
    for at, (user, film, minute) in enumerate(minutes):
        blocks.setdefault((user, film, at // 700), []).append(minute)
    joined = [
        f"{user},film{film}+,{len(each)},{DAY}:{min(each):02}:00,{DAY}:{max(each):02}:00"
        for (user, film, _), each in blocks.items()
    ]
    draw.shuffle(joined)
    assert rolled(tmp_path, single, name="one").read_bytes() == rolled(tmp_path, joined, name="two").read_bytes()


def test_rows_without_a_first_time_are_marked(tmp_path: Path) -> None:
    """Of software before 1.1: the earliest row's time stands for it."""
    earlier = [f"1,a+,4,{DAY}:20:00", f"1,a+,4,{DAY}:10:00"]
    assert rows_in(tmp_path, rolled(tmp_path, earlier, EARLIER_WATCH_HEADER)) == [(1, "a+", 8, "08:10", "08:20", False)]
    mixed = [f"1,a+,4,,{DAY}:20:00", f"1,a+,4,{DAY}:10:00,{DAY}:12:00"]
    assert rows_in(tmp_path, rolled(tmp_path, mixed)) == [(1, "a+", 8, "08:10", "08:20", False)]


def test_only_the_rows_up_to_the_end_are_rolled(tmp_path: Path) -> None:
    """Later rows belong to the next version."""
    rows = [f"{user},a+,1,{DAY}:00:00,{DAY}:00:00" for user in range(3)]
    (tmp_path / "rows.csv").write_text("\n".join([WATCH_HEADER, *rows, "torn"]))
    end = len("\n".join([WATCH_HEADER, *rows[:2], ""]))
    roll(tmp_path / "rows.csv", tmp_path / "part", tmp_path / "scratch", stop=end)
    assert [user for user, *_ in rows_in(tmp_path, tmp_path / "part")] == [0, 1]


@pytest.mark.parametrize(
    "row",
    ["1,a+,0,2026-01-05T08:00:00,2026-01-05T08:00:00", "1,a+,1,2026-02-30T08:00:00,2026-02-28T08:00:00", "1,a+,1", "x,y"],
)
def test_a_wrong_row_is_named_and_nothing_is_written(tmp_path: Path, row: str) -> None:
    """With file, line and what to do."""
    with pytest.raises(RefusedError, match=rf"{tmp_path / 'rows.csv'} line 3: .*; nothing was read"):
        rolled(tmp_path, [f"1,a+,1,{DAY}:00:00,{DAY}:00:00", row])
    assert not (tmp_path / "part.parquet").exists()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (f"SELECT {GOOD}", "it lacks first_known"),
        (f"SELECT {GOOD}, 1 AS first_known", "it has first_known INTEGER"),
        (f"SELECT true AS first_known, {GOOD}", "other order"),
        (f"SELECT {GOOD.replace('2 AS', 'NULL::INTEGER AS')}, true AS first_known", "1 rows with empty fields"),
        (f"SELECT {GOOD.replace('2 AS', '0 AS')}, true AS first_known", "1 impossible ones"),
        (f"SELECT {GOOD}, true AS first_known FROM range(2)", "1 pairs that occur again"),
    ],
)
def test_a_file_that_is_no_part_is_refused(tmp_path: Path, query: str, message: str) -> None:
    """Another schema, nulls, values that cannot be, a pair twice: one line says what."""
    with Database(tmp_path / "scratch") as database:
        database.copy(query, tmp_path / "part.parquet")
        with pytest.raises(RefusedError, match=message):
            check(tmp_path / "part.parquet", database)


def test_a_missing_or_cut_part_is_refused(tmp_path: Path) -> None:
    """The line names the part and what to do."""
    part = rolled(tmp_path, [f"{user},a+,1,{DAY}:00:00,{DAY}:00:00" for user in range(500)])
    with Database(tmp_path / "scratch") as database:
        assert check(part, database) == 500
        part.write_bytes(part.read_bytes()[:-100])
        with pytest.raises(RefusedError, match=f"{part}: it cannot be read .*: restore the part"):
            check(part, database)
        part.unlink()
        with pytest.raises(RefusedError, match=f"{part}: the part is missing: restore it"):
            check(part, database)


def test_open_watches_that_lost_rows_are_not_rolled(tmp_path: Path) -> None:
    """A file that is shorter than recorded would make a version without these rows."""
    (tmp_path / "rows.csv").write_text(f"{WATCH_HEADER}\n1,a+,1,{DAY}:00:00,{DAY}:00:00\n")
    size = (tmp_path / "rows.csv").stat().st_size
    with pytest.raises(TableError, match="rows are missing"):
        roll(tmp_path / "rows.csv", tmp_path / "part", tmp_path / "scratch", stop=size + 1)
    assert not (tmp_path / "part").exists()
