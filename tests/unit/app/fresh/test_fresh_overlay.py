from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fresh import overlay
from app.fresh.overlay import RECENT, OverlayError, Reader, Record, Table, pack, unpack, unpack_served, write
from tests.unit.app.crashes import child, rounds, wait_until

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = st.integers(0, 2**32 - 1)
SHORTS = st.integers(0, 2**16 - 1)
SOURCES = st.text("ABCabc019_-.", max_size=50)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record."""
    films = draw(st.lists(NUMBERS, max_size=9))
    minutes, grades = (draw(st.lists(SHORTS, min_size=len(films), max_size=len(films))) for _ in range(2))
    listed = draw(st.lists(NUMBERS, max_size=40))
    return Record(tuple(films), tuple(minutes), tuple(grades), tuple(listed), draw(SOURCES))


@given(records())
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    """In whole, and in the part that an answer needs."""
    assert unpack(pack(record)) == record
    assert unpack_served(pack(record)) == (record.films, record.listed, record.source)


@pytest.fixture
def every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader looks for new files at each request."""
    monkeypatch.setattr(overlay, "CHECK_SECONDS", 0)


def publish(folder: Path, base: dict[int, bytes], recent: dict[int, bytes], name: str = "base-1") -> None:
    """Write both files as the writer does."""
    write(folder / name, {"marks": {}}, base)
    write(folder / RECENT, {"base": name}, recent)


@pytest.mark.usefixtures("every_time")
def test_a_recent_record_counts_before_one_of_the_base(tmp_path: Path) -> None:
    """A user in neither file has none."""
    publish(tmp_path, {1: b"old", 2: b"base"}, {1: b"new", 2**62: b""})
    reader = Reader(tmp_path)
    assert [reader.find(user) for user in (1, 2, 3, 2**62)] == [b"new", b"base", None, b""]
    publish(tmp_path, {7: b"seven"}, {}, "base-2")
    assert [reader.find(user) for user in (1, 7)] == [None, b"seven"]


@pytest.mark.usefixtures("every_time")
def test_without_an_overlay_nothing_is_new(tmp_path: Path) -> None:
    """The reader says why, and finds the files once they are there."""
    reader = Reader(tmp_path / "overlay")
    assert reader.find(1) is None
    assert "No such file" in reader.problem
    (tmp_path / "overlay").mkdir()
    publish(tmp_path / "overlay", {}, {1: b"one"})
    assert reader.find(1) == b"one"
    assert reader.problem == ""


@pytest.mark.usefixtures("every_time")
@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "no head", "other head", "base gone"])
def test_a_damaged_file_leaves_the_last_good_state_in_use(tmp_path: Path, damage: str) -> None:
    """Until the next good one."""
    publish(tmp_path, {1: b"one"}, {2: b"two"})
    reader = Reader(tmp_path)
    assert reader.find(2) == b"two"
    publish(tmp_path, {1: b"1"}, {2: b"2"}, "base-2")
    content = (tmp_path / RECENT).read_bytes()
    damaged = {"cut": content[:-1], "changed": content[:-1] + b"?", "emptied": b"", "no head": b"x" + content}
    damaged["other head"] = content.replace(b'"users": 1', b'"users": 0')
    if damage == "base gone":
        (tmp_path / "base-2").unlink()
    else:
        (tmp_path / "new").write_bytes(damaged[damage])
        (tmp_path / "new").rename(tmp_path / RECENT)
    assert [reader.find(1), reader.find(2)] == [b"one", b"two"]
    assert reader.problem
    publish(tmp_path, {1: b"last"}, {}, "base-3")
    assert [reader.find(1), reader.find(2)] == [b"last", None]
    assert reader.problem == ""


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk."""
    publish(tmp_path, {}, {1: b"one"})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.rename", fail)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / RECENT, {"base": "base-1"}, {1: b"two"})
    assert Table(tmp_path / RECENT).find(1) == b"one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base-1", RECENT]


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    """The text names the file."""
    write(tmp_path / RECENT, {"base": "base-1", "format": 2}, {})
    with pytest.raises(OverlayError, match=r"recent: is cut or changed, or of another format"):
        Table(tmp_path / RECENT)


WRITER = """
import sys
from pathlib import Path
from app.fresh.overlay import RECENT, write
folder, number = Path(sys.argv[1]), int(sys.argv[2])
while True:
    number += 1
    base, text = f"base-{number}", b"%d" % number
    write(folder / base, {"marks": {}}, dict.fromkeys(range(0, 400, 2), text))
    write(folder / RECENT, {"base": base}, dict.fromkeys(range(1, 400, 2), text))
    for old in folder.glob("base-*"):
        if old.name != base:
            old.unlink()
"""


@pytest.mark.crash
@pytest.mark.usefixtures("every_time")
def test_a_writer_that_is_killed_at_any_moment_leaves_a_whole_state(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Records of both files belong together, and never go back to an older state."""
    reader, last = Reader(tmp_path), 0
    for chance in rounds(request, 6):
        with child(WRITER, tmp_path, last):
            wait_until(lambda before=last: int(reader.find(0) or 0) > before)  # type: ignore[misc]
            end = time.monotonic() + chance.uniform(0, 0.3)
            while time.monotonic() < end:
                found = int(reader.find(0) or 0)
                assert found >= last
                last = found
        # The writer may have come further than the last look. The next one continues there.
        last = int(reader.find(0) or 0)
        assert reader.find(0) == reader.find(1) == reader.find(399)
