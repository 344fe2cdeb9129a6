from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auto_deployment.ingestion.rows import BlockRows, Counts, KeptLine
from auto_deployment.ingestion.tables import RATING_HEADER, WATCH_HEADER, TableError, Tables

if TYPE_CHECKING:
    from pathlib import Path

ROWS = BlockRows(["1,a+1999,4,2024-01-01T00:00:00"], [], [KeptLine("film", "\udcff\n", "f", 1)], [], Counts())


def test_rows_stand_under_their_header_and_asides_as_json(tmp_path: Path) -> None:
    """In the places that the contract names; the sizes are those of the files."""
    tables = Tables(tmp_path / "data")
    assert set(tables.sizes().values()) == {0}
    tables.append(ROWS)
    tables.append(ROWS)
    assert (tmp_path / "data" / "clean_rating.csv").read_text() == "\n".join([RATING_HEADER, *ROWS.ratings * 2, ""])
    assert (tmp_path / "data" / "open_watch.csv").read_text() == f"{WATCH_HEADER}\n"
    kept = tmp_path / "data" / "quarantine" / "rejected.jsonl"
    assert kept.read_text().splitlines() == [r'{"reason": "film", "line": "\udcff\n", "source": "f", "number": 1}'] * 2
    assert tables.sizes() == {
        "clean_rating": 95,
        "open_watch": 42,
        "rejected": kept.stat().st_size,
        "repaired": 0,
        "visitors": 0,
    }


def test_rolling_back_cuts_off_what_was_not_recorded(tmp_path: Path) -> None:
    """To the recorded bytes of each file. The result is the number of removed bytes."""
    tables = Tables(tmp_path)
    tables.append(ROWS)
    before, sizes = tables.ratings.read_bytes(), tables.sizes()
    tables.append(ROWS)
    assert tables.roll_back(sizes) == 31 + tables.quarantine.stat().st_size
    assert tables.ratings.read_bytes() == before
    assert tables.sizes() == sizes
    assert tables.roll_back(sizes) == 0


def test_a_table_shorter_than_recorded_is_refused(tmp_path: Path) -> None:
    """By name, with both sizes; a missing one too; nothing else is cut."""
    tables = Tables(tmp_path)
    tables.append(ROWS)
    sizes = tables.sizes()
    tables.ratings.write_text("")
    with pytest.raises(TableError, match=f"{tables.ratings}: 0 bytes, but {sizes['clean_rating']} are recorded"):
        tables.roll_back(sizes)
    tables.ratings.unlink()
    with pytest.raises(TableError, match="rows are missing"):
        tables.roll_back(sizes)


def test_a_table_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With the system's word and what to do."""
    tables = Tables(tmp_path)
    tables.ratings.mkdir()
    with pytest.raises(TableError, match=f"{tables.ratings}: Is a directory: make room, then run again"):
        tables.append(ROWS)


def test_lines_kept_aside_roll_with_the_version(tmp_path: Path) -> None:
    """Each version begins files of its own; those of thirty versions are kept, a table never goes."""
    tables = Tables(tmp_path)
    for version in range(35):
        tables.roll(version)
        tables.append(BlockRows(["1,a+1999,4,2026-01-05T08:00:00"], [], [KeptLine("user", "x", "f", 1)], [], Counts()))
    kept = sorted(path.name for path in tables.quarantine.parent.iterdir())
    assert len(kept) == 32
    assert "rejected_since_3.jsonl" not in kept
    assert tables.sizes()["rejected"] == tables.quarantine.stat().st_size > 0
    assert len(tables.ratings.read_text().splitlines()) == 36


def test_open_watches_beyond_the_part_of_a_version_are_carried_over(tmp_path: Path) -> None:
    """The next file has the rows after the version's end. The earlier file stays until the state names the next one."""
    tables = Tables(tmp_path)
    rows = [f"{user},a+1999,1,2024-01-01T00:00:00,2024-01-01T00:00:00" for user in range(3)]
    tables.append(BlockRows([], rows[:2], [], [], Counts()))
    end = tables.sizes()["open_watch"]
    tables.append(BlockRows([], rows[2:], [], [], Counts()))
    before = tables.watches
    tables.carry_over(7, end)
    assert before.exists()
    tables.roll(7)
    tables.drop_rolled()
    assert tables.watches.read_text().splitlines() == [WATCH_HEADER, rows[2]]
    assert not before.exists()
