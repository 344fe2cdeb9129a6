from __future__ import annotations

import fcntl
import logging
import os
import resource
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import journal
from app.journal import Journal, JournalError, Row, from_line, to_line
from tests.unit.app.crashes import child, rounds, run, wait_until
from tests.unit.app.samples import ROW, row

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

LINE = to_line(ROW)
MANY = 1 << 20

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
ROWS = st.builds(
    Row,
    answer_id=WORDS.filter(lambda word: len(word) <= 32),
    request_id=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    user_id=st.integers(0, 2**63 - 1),
    version_number=st.integers(0, 2**31 - 1),
    track=st.sampled_from(["stable", "canary"]),
    served_at=st.integers(0, 10**16 - 1),
    step=st.sampled_from(["known", "popular", "seen_all"]),
    digest=st.text("0123456789abcdef", min_size=16, max_size=16),
    inputs=st.just("") | WORDS.filter(lambda word: len(word) <= 64),
)

APPEND_FOR_EVER = """
import itertools, os, sys
from pathlib import Path
from app.journal import Journal, to_line
from tests.unit.app.samples import row
journal = Journal(Path(sys.argv[1]), 1 << 30, 20_000)
for number in itertools.count():
    if journal.append(to_line(row(number))):
        os.write(1, b"%d\\n" % number)
"""
APPEND_AFTER_FORK = """
import os, sys
from pathlib import Path
from app.journal import Journal, to_line
from tests.unit.app.samples import row
journal = Journal(Path(sys.argv[1]), 1 << 20, 1 << 16)
assert journal.append(to_line(row(0)))
if os.fork() == 0:
    assert journal.append(to_line(row(1)))
    assert journal.append(to_line(row(2)))
    journal.close()
    sys.exit()
assert os.wait()[1] == 0
assert journal.append(to_line(row(3)))
"""


class Stubborn(PosixPath):
    """A folder in which nothing can be renamed while `stuck`."""

    stuck = True

    def rename(self, target: str | os.PathLike[str]) -> Stubborn:
        """Fail as a disk does that has no room for a name."""
        if Stubborn.stuck:
            raise OSError(28, "No space left on device")
        os.rename(self, target)  # noqa: PTH104 - what is overridden here
        return Stubborn(target)


class Vanishing(PosixPath):
    """A folder that lists a journal which has just been removed."""

    def glob(self, pattern: str) -> Generator[Vanishing]:
        """What is there, and what is there no more."""
        yield self / "gone.tsv"
        yield from super().glob(pattern)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the journals go."""
    return tmp_path / "journals"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals that try again after a moment, not a second."""
    monkeypatch.setattr(journal, "RETRY_SECONDS", 0.02)


@contextmanager
def opened(folder: Path, max_bytes: int = MANY, segment_bytes: int = MANY // 16) -> Iterator[Journal]:
    """A journal, closed at the end."""
    made = Journal(folder, max_bytes, segment_bytes)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size`: a write across it is short, one beyond it fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def journals(folder: Path) -> list[Path]:
    """The journals, in the order of their beginning."""
    return sorted(folder.glob("*.tsv"))


def content(folder: Path) -> list[Row]:
    """The rows of all journals; a half line would be an error."""
    return [from_line(line) for path in journals(folder) for line in path.read_bytes().splitlines(keepends=True)]


def is_locked(path: Path) -> bool:
    """Whether somebody holds the journal."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@given(row=ROWS)
def test_a_row_becomes_one_line_and_a_row_again(row: Row) -> None:
    """Every row that an answer can have is one line, which reads back as the same row."""
    line = to_line(row)
    assert line.endswith(b"\n")
    assert len(line.splitlines()) == 1
    assert from_line(line) == row


@given(data=st.data())
def test_a_damaged_line_is_refused_or_still_a_line(data: st.DataObject) -> None:
    """A line with bytes changed, left out or added is refused with ValueError, unless it is what another row would give."""
    at = data.draw(st.integers(0, len(LINE)))
    cut = data.draw(st.integers(0, 3))
    damaged = LINE[:at] + data.draw(st.binary(max_size=3) | st.sampled_from([b"\t", b"\n", b"0", b"-"])) + LINE[at + cut :]
    try:
        parsed = from_line(damaged)
    except ValueError:
        return
    assert to_line(parsed) == damaged


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        LINE[:-1],
        LINE + b"\n",
        LINE * 2,
        b"\0" * len(LINE),
        LINE.replace(b"request-1", b""),
        LINE.replace(b"request-1", b"a" * 65),
        LINE.replace(b"request-1", b"a\rb"),
        LINE.replace(b"\t5\t", b"\t9223372036854775808\t"),
        LINE.replace(b"\t5\t", b"\t-5\t"),
        LINE.replace(b"\t5\t", b"\t05\t"),
        LINE.replace(b"\t5\t", b"\t1_0\t"),
        LINE.replace(b"\t5\t", "\t٣\t".encode()),
        LINE.replace(b"\t3\t", b"\t2147483648\t"),
        LINE.replace(b"1750000000123456", b"99999999999999999"),
    ],
)
def test_what_the_database_could_not_take_is_no_line(line: bytes) -> None:
    """Empty, half, doubled or overlong, numbers in other forms or beyond their columns: ValueError."""
    with pytest.raises(ValueError, match=r"form of a journal's line|too large for its column"):
        from_line(line)


def test_appended_lines_are_in_a_file_of_their_own(folder: Path) -> None:
    """Each line is in the file when `append` returns, in the order in which they came."""
    with opened(folder) as written:
        for number in range(3):
            assert written.append(to_line(row(number)))
            assert content(folder) == [row(each) for each in range(number + 1)]
        assert len(journals(folder)) == 1
        assert written.state == journal.JournalState(0, "")


def test_nothing_is_made_before_the_first_line(folder: Path) -> None:
    """A process that answers nobody, such as Gunicorn's master, leaves no journal."""
    with opened(folder):
        assert list(folder.iterdir()) == []


def test_the_journal_is_locked_as_long_as_it_is_written(folder: Path) -> None:
    """Whoever gets the lock knows that the writer is gone."""
    with opened(folder) as written:
        written.append(LINE)
        assert is_locked(journals(folder)[0])
    assert not is_locked(journals(folder)[0])


def test_closing_twice_and_writing_again_is_fine(folder: Path) -> None:
    """A closed journal begins a new file."""
    with opened(folder) as written:
        written.append(to_line(row(0)))
        written.close()
        written.close()
        assert written.append(to_line(row(1)))
    assert content(folder) == [row(0), row(1)]
    assert len(journals(folder)) == 2


def test_a_segment_is_ended_before_it_grows_too_large(folder: Path) -> None:
    """A new file begins where the next line would not fit; only the last one is still held."""
    size = 3 * len(to_line(row(0)))
    with opened(folder, MANY, size) as written:
        for number in range(8):
            assert written.append(to_line(row(number)))
        assert [path.stat().st_size for path in journals(folder)] == [size, size, size * 2 // 3]
        assert [is_locked(path) for path in journals(folder)] == [False, False, True]
    assert content(folder) == [row(number) for number in range(8)]


def test_the_folder_is_bounded(folder: Path) -> None:
    """Journals that are not shipped stay within the bound. Rows beyond it are counted, and the state has the reason."""
    size = len(LINE)
    with opened(folder, 10 * size, 2 * size) as written:
        taken = [written.append(to_line(row(number))) for number in range(14)]
        assert taken == [True] * 10 + [False] * 4
        assert sum(path.stat().st_size for path in journals(folder)) == 10 * size
        assert written.state.lost == 4
        assert "holds its 0 MiB: is the shipper, or the database, away?" in written.state.problem


def test_whatever_lies_in_the_folder_counts_towards_the_bound(folder: Path) -> None:
    """Lines that the shipper could not read, and files of killed writers, take room like journals."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1.broken").write_bytes(b"x" * 800)
    with opened(folder, 1000, 400) as journal:
        assert not journal.append(LINE)
        assert "holds its" in journal.state.problem


def test_other_writers_count_towards_the_bound(folder: Path) -> None:
    """The bound is the folder's, whoever wrote what is in it."""
    with opened(folder, 3000, 1000) as written:
        (folder / "0-of-another.tsv").write_bytes(bytes(2001))
        assert not written.append(LINE)
        assert journals(folder) == [folder / "0-of-another.tsv"]


@pytest.mark.usefixtures("impatient")
def test_writing_goes_on_when_there_is_room_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once the shipper has taken journals away, rows are kept again; the log has one line for each change, not for each row."""
    size = len(LINE)
    with opened(folder, 4 * size, 2 * size) as written:
        assert [written.append(to_line(row(number))) for number in range(7)] == [True] * 4 + [False] * 3
        for path in journals(folder):
            path.unlink()
        wait_until(lambda: written.append(to_line(row(9))))
        assert content(folder) == [row(9)]
        assert written.state.problem == ""
        lost = written.state.lost
    assert lost >= 3
    error, warning = caplog.records
    assert (error.levelno, warning.levelno) == (logging.ERROR, logging.WARNING)
    assert "answers continue, but their rows are lost" in error.getMessage()
    assert warning.getMessage() == f"journal in {folder} works again, {lost} rows lost so far"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("segments", [1, 1.5])
def test_a_full_journal_is_let_go_of_although_the_next_has_no_room(folder: Path, segments: float) -> None:
    """Where the bound holds hardly a segment, the shipper can finish the full one, and writing goes on."""
    size = len(LINE)
    with opened(folder, int(2 * size * segments), 2 * size) as written:
        assert [written.append(to_line(row(number))) for number in range(3)] == [True, True, False]
        (path,) = journals(folder)
        assert not is_locked(path)
        path.unlink()
        wait_until(lambda: written.append(to_line(row(9))))


def test_a_refused_journal_is_not_tried_at_every_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the folder takes time. Until the next attempt, rows are lost at once, with the same reason."""
    monkeypatch.setattr(journal, "RETRY_SECONDS", 3600.0)
    with opened(folder, 2000, 1000) as written:
        (folder / "0-of-another.tsv").write_bytes(bytes(2000))
        assert not written.append(LINE)
        problem = written.state.problem
        (folder / "0-of-another.tsv").unlink()
        assert not written.append(LINE)
        assert written.state == journal.JournalState(2, problem)


def test_a_journal_that_vanishes_while_the_room_is_counted_does_not_matter(folder: Path) -> None:
    """The shipper may remove a journal after the listing and before its size is read."""
    with opened(Vanishing(folder)) as written:
        assert written.append(LINE)


@pytest.mark.parametrize("room", [0, 1, 50, len(LINE) - 1])
def test_a_short_write_leaves_no_half_line(folder: Path, room: int) -> None:
    """A disk that has room for a part of the line: the line is lost whole, and the next one is whole again."""
    with opened(folder) as written:
        assert written.append(to_line(row(0)))
        with file_size_limit(len(LINE) + room):
            assert not written.append(to_line(row(1)))
        assert content(folder) == [row(0)]
        assert written.append(to_line(row(2)))
    assert content(folder) == [row(0), row(2)]
    assert written.state.lost == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A disk of 64 KiB where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    mounted = os.getuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
    yield disk if mounted else None
    if mounted:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.crash
@pytest.mark.usefixtures("impatient")
def test_a_full_disk_costs_rows_until_there_is_room(folder: Path, small_disk: Path | None) -> None:
    """On a disk without room rows are lost; when there is room again they are kept, and no line is half."""
    folder = small_disk / "journals" if small_disk else folder
    with opened(folder) as written:
        assert written.append(to_line(row(0)))
        number = 1
        with filled(folder):
            while written.append(to_line(row(number))):
                number += 1
            assert not written.append(to_line(row(number)))
            assert written.state.lost == 2
            assert written.state.problem in {"No space left on device", "no space left for a whole line", "File too large"}
        wait_until(lambda: written.append(to_line(row(9999))))
    assert content(folder) == [*map(row, range(number)), row(9999)]


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """The disk is full but for a few lines: in truth where it is small, by a limit otherwise."""
    if folder.stat().st_dev == folder.parents[1].stat().st_dev:
        with file_size_limit(10 * len(LINE) + 7):
            yield
        return
    ballast = folder.parent / "ballast"
    file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while os.write(file, bytes(512)):
            pass
    os.close(file)
    yield
    ballast.unlink()


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_is_full_from_the_start_costs_rows_until_there_is_room(folder: Path) -> None:
    """A journal whose file cannot be named is no journal: nothing is taken before it can, and nothing stays behind."""
    Stubborn.stuck = True
    with opened(Stubborn(folder)) as written:
        assert not written.append(to_line(row(0)))
        assert not written.append(to_line(row(1)))
        assert written.state == journal.JournalState(2, "No space left on device")
        assert list(folder.iterdir()) == []
        Stubborn.stuck = False
        wait_until(lambda: written.append(to_line(row(2))))
    assert content(folder) == [row(2)]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path, place: str) -> None:
    """A file in the folder's place, or above it: JournalError with the folder's name."""
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match=f"{tmp_path / place}: .*: the journals need a writable folder"):
        Journal(tmp_path / place, MANY, MANY)


@pytest.mark.usefixtures("impatient")
def test_a_folder_that_is_gone_costs_rows_only(folder: Path) -> None:
    """Somebody removed the folder: nothing is raised, and it goes on when the folder is back."""
    with opened(folder) as written:
        folder.rmdir()
        assert not written.append(LINE)
        assert written.state.problem == "No such file or directory"
        folder.mkdir()
        wait_until(lambda: written.append(LINE))


def test_lines_of_threads_do_not_mix(folder: Path) -> None:
    """Threads that append at once: every line is whole, and all are there."""
    with opened(folder, MANY, 2000) as written:
        threads = [
            threading.Thread(target=lambda start=start: [written.append(to_line(row(start + each))) for each in range(200)])
            for start in range(0, 800, 200)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(content(folder)) == [row(number) for number in range(800)]


def test_a_fork_writes_a_journal_of_its_own(folder: Path) -> None:
    """Parent and child have a file each, and neither writes into the other's."""
    run(APPEND_AFTER_FORK, folder)
    parents, childs = (path.read_bytes().splitlines(keepends=True) for path in journals(folder))
    assert [from_line(line) for line in parents] == [row(0), row(3)]
    assert [from_line(line) for line in childs] == [row(1), row(2)]


@pytest.mark.crash
def test_kill_9_leaves_whole_lines_and_all_that_was_acknowledged(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A process that appends in a loop and is killed: whole lines in order, and every line that `append` took."""
    for number, chance in enumerate(rounds(request, 3)):
        folder = tmp_path / str(number)
        with child(APPEND_FOR_EVER, folder) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"0\n"
            acknowledged, until = 0, time.monotonic() + 0.1 * chance.random()
            while time.monotonic() < until:
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            acknowledged = int([b"%d" % acknowledged, *writer.stdout.read().split()][-1])
        rows = content(folder)
        assert rows == [row(each) for each in range(len(rows))]
        assert acknowledged + 1 <= len(rows) <= acknowledged + 2
        assert not any(is_locked(path) for path in journals(folder))
