from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import shipper
from app.journal import Journal, Row, ServedList, list_line, to_line
from app.provenance import DatabaseError, Ledger
from app.provenance.archive import Archive
from app.provenance.backup import from_lines, to_lines
from app.shipper import Shipper, cut, run
from tests.unit.app.crashes import wait_until
from tests.unit.app.samples import ROW, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SIZE = len(to_line(row(0)))


class CountingLedger(Ledger):
    """The database, with a note of each batch that was brought."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.batches: list[int] = []

    def add_answers(self, journal: str, rows: Sequence[Row], taken: int, lists: Sequence[ServedList] = ()) -> None:
        """Add them, and note how many there were."""
        super().add_answers(journal, rows, taken, lists)
        self.batches.append(len(rows))


class Harness:
    """A folder of journals, a database, and a shipper between them."""

    def __init__(self, folder: Path) -> None:
        self.journals = folder / "journals"
        self.database = folder / "database" / "provenance.sqlite"
        self.database.parent.mkdir()
        self.ledger = CountingLedger(f"sqlite:///{self.database}")
        self.shipper = Shipper(self.journals, self.ledger, 1000)

    def write(self, name: str, *parts: Row | bytes) -> Path:
        """A journal whose writer is gone."""
        path = self.journals / "stable-1" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(part if isinstance(part, bytes) else to_line(part) for part in parts))
        return path

    def numbers(self) -> list[int]:
        """The answers that the database has, by the numbers that they were made from."""
        return sorted(int(answer_id, 16) for answer_id in self.ledger.answer_ids())

    def files(self) -> list[str]:
        """What lies in the service's folder."""
        return sorted(path.name for path in (self.journals / "stable-1").iterdir())


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    """A folder of journals, a database, and a shipper between them."""
    made = Harness(tmp_path)
    yield made
    made.ledger.close()


@given(
    lines=st.lists(st.integers(0, 9).map(row).map(to_line) | st.binary(max_size=20).map(lambda text: text + b"\n"), max_size=8),
    rest=st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"")),
)
def test_whole_lines_are_cut_off_in_front(lines: list[bytes], rest: bytes) -> None:
    """Everything up to the last line end is a row or kept as broken; a half line at the end is left."""
    whole = b"".join(lines)
    batch = cut(whole + rest)
    assert batch.size == len(whole)
    assert len(batch.rows) == sum(line.startswith(b"0" * 31) for line in lines)
    assert sum(map(len, batch.broken)) + sum(len(to_line(each)) for each in batch.rows) == batch.size


def test_journals_of_dead_writers_are_shipped_and_removed(harness: Harness) -> None:
    """All rows of all services arrive, in the order of the files; files and marks are gone."""
    harness.write("1", row(1), row(2))
    harness.write("2", row(3))
    other = harness.journals / "canary" / "1.tsv"
    other.parent.mkdir()
    other.write_bytes(to_line(row(4)))
    assert harness.shipper.ship() == 4
    assert harness.numbers() == [1, 2, 3, 4]
    assert harness.files() == []
    assert not other.exists()
    assert harness.ledger.taken() == {}


def test_rows_arrive_as_they_were_written(harness: Harness) -> None:
    """A shipped row has everything that the journal had of it."""
    harness.write("1", ROW)
    harness.shipper.ship()
    with closing(sqlite3.connect(harness.database)) as database:
        statement = "select answer_id, request_id, user_id, version_number, track, step, digest, inputs from reccom"
        assert database.execute(statement).fetchall() == [(*ROW[:5], *ROW[6:])]


def test_lines_of_a_living_writer_are_shipped_and_its_file_stays(harness: Harness) -> None:
    """While the writer lives its lines arrive one by one, and the file goes once the writer has."""
    journal = Journal(harness.journals / "stable-1", 1 << 20, 1 << 16)
    for number in range(3):
        journal.append(to_line(row(number)))
        assert harness.shipper.ship() == 1
        assert harness.numbers() == list(range(number + 1))
        assert len(harness.files()) == 1
    assert harness.shipper.ship() == 0
    journal.close()
    assert harness.shipper.ship() == 0
    assert harness.files() == []
    assert harness.ledger.batches == [1, 1, 1]


def test_the_writers_journals_flow_through_rotation(harness: Harness) -> None:
    """A writer within a small bound, shipped now and then: every row arrives once, and none is lost."""
    journal = Journal(harness.journals / "stable-1", 10 * SIZE, 2 * SIZE)
    for number in range(100):
        assert journal.append(to_line(row(number)))
        if number % 5 == 0:
            harness.shipper.ship()
    journal.close()
    harness.shipper.ship()
    assert harness.numbers() == list(range(100))
    assert harness.files() == []


def test_a_half_line_waits_for_its_other_half(harness: Harness) -> None:
    """What a writer has not finished is left, and taken when it is whole."""
    journal = Journal(harness.journals / "stable-1", 1 << 20, 1 << 16)
    journal.append(to_line(row(1)) + to_line(row(2))[:30])
    assert harness.shipper.ship() == 1
    assert harness.shipper.ship() == 0
    journal.append(to_line(row(2))[30:])
    assert harness.shipper.ship() == 1
    journal.close()
    harness.shipper.ship()
    assert harness.numbers() == [1, 2]
    assert harness.files() == []


def test_the_half_line_of_a_dead_writer_is_kept_aside(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """A line without an end is kept next to the journal and logged. The lines before it arrive."""
    path = harness.write("1", row(1), to_line(row(2))[:-1])
    assert harness.shipper.ship() == 1
    assert harness.files() == ["1.broken"]
    assert path.with_suffix(".broken").read_bytes() == to_line(row(2))[:-1]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"{path}: 1 lines are no answers; kept in {path.with_suffix('.broken')}"


def test_broken_lines_are_kept_aside_and_the_others_arrive(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """Lines that no worker can have written are kept unchanged, logged once, and do not delay other lines."""
    huge = to_line(row(7)).replace(b"\t5\t", b"\t99999999999999999999\t")
    late = to_line(row(8)).replace(b"1750000000123456", b"9" * 30)
    path = harness.write("1", row(1), b"rubbish\n", row(2), huge, late, b"\0\xff\n", row(3))
    assert harness.shipper.ship() == 3
    assert harness.numbers() == [1, 2, 3]
    assert path.with_suffix(".broken").read_bytes() == b"rubbish\n" + huge + late + b"\0\xff\n"
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        f"4 lines are no answers; kept in {path.with_suffix('.broken')}"
    ]


def test_broken_lines_are_kept_once_however_often_the_database_is_away(harness: Harness) -> None:
    """A batch that is tried again and again keeps its broken lines when it has gone through, not at each try."""
    path = harness.write("1", row(1), b"rubbish\n", row(2))
    harness.ledger.create()
    with closing(sqlite3.connect(harness.database)) as database:
        database.execute("create trigger refusing before insert on reccom begin select raise(abort, 'refused'); end")
    for _ in range(3):
        with pytest.raises(DatabaseError, match="refused"):
            harness.shipper.ship()
    with closing(sqlite3.connect(harness.database)) as database:
        database.execute("drop trigger refusing")
    assert harness.shipper.ship() == 2
    assert path.with_suffix(".broken").read_bytes() == b"rubbish\n"


@pytest.mark.parametrize("length", [255, 256, 257, 1000, 5000])
def test_damage_longer_than_a_batch_hides_nothing(harness: Harness, length: int) -> None:
    """A long piece without a line end, as a torn disk leaves it: it is kept aside whole, what follows arrives."""
    path = harness.write("1", row(1), bytes(length), b"\n", row(2), row(3))
    assert Shipper(harness.journals, harness.ledger, 1).ship() == 3
    assert harness.numbers() == [1, 2, 3]
    assert path.with_suffix(".broken").read_bytes() == bytes(length) + b"\n"


@pytest.mark.parametrize("length", [255, 256, 257, 5000])
def test_a_long_half_line_is_kept_aside_whole(harness: Harness, length: int) -> None:
    """The end of a dead writer's journal that has no line end is kept to the last byte."""
    path = harness.write("1", row(1), b"x" * length)
    assert Shipper(harness.journals, harness.ledger, 1).ship() == 1
    assert path.with_suffix(".broken").read_bytes() == b"x" * length


@pytest.mark.parametrize("batch_rows", [1, 3, 1000])
def test_a_long_journal_is_moved_in_batches(harness: Harness, batch_rows: int) -> None:
    """Each transaction has a bounded number of rows; together they are all."""
    harness.write("1", *map(row, range(50)))
    assert Shipper(harness.journals, harness.ledger, batch_rows).ship() == 50
    assert harness.numbers() == list(range(50))
    longest = batch_rows * shipper.BYTES_A_ROW // SIZE + 1
    assert max(harness.ledger.batches) <= longest
    assert sum(harness.ledger.batches) == 50


def test_a_shipper_that_starts_again_goes_on_at_the_mark(harness: Harness) -> None:
    """After a restart only what is new is sent."""
    journal = Journal(harness.journals / "stable-1", 1 << 20, 1 << 16)
    journal.append(to_line(row(1)))
    harness.shipper.ship()
    journal.append(to_line(row(2)))
    assert Shipper(harness.journals, harness.ledger, 1000).ship() == 1
    journal.close()
    assert harness.ledger.batches == [1, 1]
    assert harness.numbers() == [1, 2]


def test_a_journal_that_was_shipped_but_not_removed_is_removed(harness: Harness) -> None:
    """A shipper that was killed before it could remove the file: nothing arrives twice, the file and its mark go."""
    path = harness.write("1", row(1), row(2))
    harness.ledger.create()
    harness.ledger.add_answers("stable-1/1.tsv", [row(1), row(2)], path.stat().st_size)
    assert harness.shipper.ship() == 0
    assert harness.files() == []
    assert harness.ledger.taken() == {}


def test_marks_of_journals_that_are_gone_are_dropped(harness: Harness) -> None:
    """A shipper that was killed after it had removed the file: the mark goes at the next start, others stay."""
    journal = Journal(harness.journals / "stable-1", 1 << 20, 1 << 16)
    journal.append(to_line(row(1)))
    harness.shipper.ship()
    harness.ledger.add_answers("stable-1/gone.tsv", [], 100)
    Shipper(harness.journals, harness.ledger, 1000).ship()
    assert list(harness.ledger.taken().values()) == [SIZE]
    journal.close()


def test_rows_that_come_again_arrive_once(harness: Harness) -> None:
    """Marks that were lost with an older copy of the database: the journal is sent again, and no row is there twice."""
    journal = Journal(harness.journals / "stable-1", 1 << 20, 1 << 16)
    journal.append(to_line(row(1)))
    harness.shipper.ship()
    with closing(sqlite3.connect(harness.database)) as database, database:
        database.execute("delete from journal_marks")
    journal.append(to_line(row(2)))
    Shipper(harness.journals, harness.ledger, 1000).ship()
    journal.close()
    assert harness.numbers() == [1, 2]


@pytest.mark.parametrize("away", ["folder", "file"])
def test_a_database_that_is_away_keeps_all_in_the_journals(harness: Harness, away: str) -> None:
    """The database's folder is missing, or a folder stands in its place: nothing is lost, and everything arrives once later."""
    if away == "folder":
        harness.database.parent.rmdir()
    else:
        harness.database.mkdir()
    path = harness.write("1", row(1), b"rubbish\n", row(2))
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(DatabaseError):
            harness.shipper.ship()
    assert harness.files() == ["1.tsv"]
    assert path.read_bytes() == before
    shutil.rmtree(harness.database, ignore_errors=True)
    harness.database.parent.mkdir(exist_ok=True)
    assert harness.shipper.ship() == 2
    assert harness.numbers() == [1, 2]


def test_an_outage_between_two_batches_loses_and_doubles_nothing(harness: Harness) -> None:
    """The database goes away after the first batch: the second arrives when it is back, the first is not sent again."""
    harness.write("1", *map(row, range(40)))
    small = Shipper(harness.journals, harness.ledger, 10)
    harness.ledger.create()
    with closing(sqlite3.connect(harness.database)) as database:
        refusing = f"when new.answer_id = '{30:032x}' begin select raise(abort, 'refused'); end"
        database.execute(f"create trigger refusing before insert on reccom {refusing}")
        with pytest.raises(DatabaseError, match="refused"):
            small.ship()
        arrived = harness.ledger.count()
        assert 0 < arrived < 30
        database.execute("drop trigger refusing")
    assert small.ship() == 40 - arrived
    assert harness.numbers() == list(range(40))
    assert sum(harness.ledger.batches) == 40


def test_without_journals_there_is_nothing_to_do(harness: Harness) -> None:
    """A folder that is not there yet, files that are no journals: nothing happens to them."""
    assert harness.shipper.ship() == 0
    path = harness.write("1", row(1))
    path.rename(path.with_suffix(".new"))
    assert harness.shipper.ship() == 0
    assert harness.files() == ["1.new"]


class Patience(threading.Event):
    """Notes how long somebody would wait, and does not; set after `most` waits."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._most = most

    def wait(self, timeout: float | None = None) -> bool:
        """Return at once."""
        self.waits.append(timeout or 0.0)
        if len(self.waits) == self._most:
            self.set()
        return self.is_set()


class FakeShipper(Shipper):
    """Does what a list of errors says, and nothing when the list is done."""

    def __init__(self, errors: list[Exception | None]) -> None:
        self.errors = errors
        self.calls = 0

    def ship(self, _may_continue: Callable[[], bool] = lambda: True) -> int:
        """Fail or not."""
        self.calls += 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return 0

    def upkeep(self) -> None:
        """The database adds and drops its partitions."""


def test_days_are_looked_after_at_first_and_then_hourly(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is logged once, and tried again a minute later. Rows still arrive."""
    calls, now = list[float](), [1000.0]
    answers = [DatabaseError("locked"), None, None]

    def upkeep() -> None:
        calls.append(now[0])
        error = answers.pop(0)
        if error is not None:
            raise error

    monkeypatch.setattr(harness.ledger, "upkeep", upkeep)
    monkeypatch.setattr("app.shipper.time.monotonic", lambda: now[0])
    with pytest.raises(DatabaseError):
        harness.shipper.upkeep()
    for moment in (1059.0, 1060.0, 1061.0, 4659.0, 4660.0):
        now[0] = moment
        harness.shipper.upkeep()
    assert calls == [1000.0, 1060.0, 4660.0]


def test_upkeep_that_fails_stops_no_shipping(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """One line is logged, and the rows count as shipped."""
    harness.write("1", row(1))
    harness.ledger.upkeep = lambda: (_ for _ in ()).throw(DatabaseError("locked\nand more"))  # type: ignore[method-assign]
    stop = Patience(1)
    run(harness.shipper, 0.5, stop)
    assert stop.waits == [0.5]
    assert harness.numbers() == [1]
    assert "the database cannot add or drop its partitions, but it still takes rows: locked" in caplog.text
    assert "and more" not in caplog.text


def test_empty_files_of_killed_writers_are_cleared_away(harness: Harness) -> None:
    """A minute old and older; one that a writer is just about to name is left."""
    folder = harness.journals / "stable-1"
    folder.mkdir(parents=True)
    old, young = folder / "1.new", folder / "2.new"
    for path, age in ((old, shipper.STALE_SECONDS + 1), (young, 0)):
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    harness.shipper.ship()
    assert harness.files() == ["2.new"]


def test_broken_lines_are_kept_within_a_bound(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For all journals of a service together; lines beyond it are dropped, counted and logged."""
    monkeypatch.setattr(shipper, "BROKEN_BYTES", 25)
    for name in ("1", "2", "3"):
        harness.write(name, b"0123456789\n", row(int(name)))
    assert harness.shipper.ship() == 3
    kept = {path.name: path.stat().st_size for path in (harness.journals / "stable-1").iterdir()}
    assert kept == {"1.broken": 11, "2.broken": 11}
    assert caplog.text.count("1 lines are no answers; kept in") == 2
    assert caplog.text.count("1 lines are no answers; dropped") == 1


def test_a_shipper_shows_that_it_lives_at_each_look(tmp_path: Path) -> None:
    """With a database or without: its file is touched."""
    heartbeat = tmp_path / "heartbeat"
    run(FakeShipper([DatabaseError("away")] * 2), 0.5, Patience(1), heartbeat)
    assert time.time() - heartbeat.stat().st_mtime < 60


def test_a_shipper_that_catches_up_shows_that_it_lives_after_each_batch(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call may take half an hour then. Meanwhile its file is touched, and the database counts as reached."""
    heartbeat, seen = tmp_path / "heartbeat", []
    harness.write("1", *map(row, range(50)))
    small = Shipper(harness.journals, harness.ledger, 5)

    def note(_journal: str, _rows: Sequence[Row], _taken: int, _lists: Sequence[ServedList]) -> None:
        seen.append((small.reached, heartbeat.exists()))
        heartbeat.unlink(missing_ok=True)

    monkeypatch.setattr(harness.ledger, "add_answers", note)
    run(small, 0.5, Patience(1), heartbeat)
    assert seen == [(False, False), *[(True, True)] * (len(seen) - 1)]
    assert len(seen) > 2


def test_a_served_list_arrives_once_a_day_and_comes_back(harness: Harness) -> None:
    """However often it was served. An archive finds what the list of an answer was computed from."""
    source, day = "BwAAAP8.AQ", 86_400_000_000
    listed = ServedList("0123456789abcdef", ROW.user_id, ROW.version_number, ROW.served_at, source)
    answers = [row(at, step="fresh", inputs=f"fresh:{listed.list_id}:{at}", served_at=ROW.served_at + at) for at in range(3)]
    lines = [part for each in answers for part in (list_line(listed), to_line(each))]
    harness.write("1", *lines, list_line(listed._replace(served_at=ROW.served_at + day)), list_line(listed)[:-2] + b"\xff\n")
    harness.shipper.ship()
    assert harness.numbers() == [0, 1, 2]
    with closing(sqlite3.connect(harness.database)) as database:
        assert database.execute("select count(*) from served_lists").fetchone() == (2,)
    assert harness.files() == ["1.broken"]
    with closing(Archive(f"sqlite:///{harness.database}")) as archive:
        found = archive.find("user_id", ROW.user_id)
        assert [archive.list_source(each) for each in found] == [source] * 3
        assert archive.list_source(found[0]._replace(inputs="struck:1")) == ""
        assert archive.list_source(found[0]._replace(version_number=99)) == ""
        entries = list(archive.everything())
    assert [each for each in entries if isinstance(each, ServedList)] == [
        listed,
        listed._replace(served_at=ROW.served_at + day),
    ]
    assert list(from_lines(to_lines(entries))) == entries


def test_a_shipper_that_catches_up_ends_within_its_time(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the stop, only the present batch and those of a short last read are moved. The journals keep the rest."""
    monkeypatch.setattr(shipper, "LAST_READ_SECONDS", 0.0)
    for name in ("1", "2"):
        harness.write(name, *map(row, range(50)))
    stop, add = threading.Event(), harness.ledger.add_answers

    def add_and_stop(journal: str, rows: Sequence[Row], taken: int, lists: Sequence[ServedList] = ()) -> None:
        add(journal, rows, taken, lists)
        stop.set()

    harness.ledger.add_answers = add_and_stop  # type: ignore[method-assign]
    run(Shipper(harness.journals, harness.ledger, 5), 0.5, stop)
    assert len(harness.ledger.batches) == 2
    assert harness.files() == ["1.tsv", "2.tsv"]


def test_the_shipper_takes_no_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever they are: its settings are of the environment."""
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path))
    monkeypatch.setenv("PROVENANCE_URL", "sqlite://")
    assert shipper.main(["--check"]) == 2


def test_waits_grow_while_the_database_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """Each failure doubles the pause up to ten seconds, a success ends that. Each is logged in one line."""
    errors: list[Exception | None] = [DatabaseError("away\nand more"), OSError(5, "Input/output error")] * 3
    fake, stop = FakeShipper([*errors, None, DatabaseError("away")]), Patience(8)
    run(fake, 0.5, stop)
    assert stop.waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 0.5, 1.0]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 7
    assert messages[0] == "cannot ship now, the journals keep the rows: away"
    assert messages[1] == "cannot ship now, the journals keep the rows: [Errno 5] Input/output error"


def test_there_is_a_last_look_at_the_end() -> None:
    """Told to stop, it ships what came in the meantime."""
    fake, stop = FakeShipper([]), threading.Event()
    stop.set()
    run(fake, 0.5, stop)
    assert fake.calls == 1


def test_a_last_attempt_that_fails_is_repeated_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the database is back, or the time is over. Without a time there is one attempt."""
    now, stop = [1000.0], threading.Event()
    stop.set()
    monkeypatch.setattr("app.shipper.time.monotonic", lambda: now[0])
    monkeypatch.setattr("app.shipper.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    for seconds, failures, calls in ((0.0, 9, 1), (5.0, 3, 4), (5.0, 99, 6)):
        fake = FakeShipper([DatabaseError("away")] * failures)
        run(fake, 0.5, stop, end_seconds=seconds)
        assert fake.calls == calls, (seconds, failures)


def test_run_catches_up_when_the_database_is_back(harness: Harness) -> None:
    """A shipper in a loop: rows written during an outage arrive after it without anybody's help."""
    shutil.rmtree(harness.database.parent)
    harness.write("1", row(1))
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(harness.shipper, 0.01, stop))
    thread.start()
    try:
        harness.write("2", row(2))
        harness.database.parent.mkdir()
        wait_until(lambda: harness.files() == [])
    finally:
        stop.set()
        thread.join()
    assert harness.numbers() == [1, 2]


@contextmanager
def signals_restored() -> Iterator[None]:
    """What TERM and Ctrl-C did before, they do again afterwards."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def test_the_command_ships_until_a_signal_stops_it(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM ends it with status 0, after a last read."""
    monkeypatch.setenv("JOURNAL_DIR", str(harness.journals))
    monkeypatch.setenv("PROVENANCE_URL", f"sqlite:///{harness.database}")
    monkeypatch.setenv("SHIP_SECONDS", "60")
    journal = Journal(harness.journals / "stable-1", 1 << 20, 1 << 16)
    journal.append(to_line(row(1)))
    harness.ledger.create()

    def stop_when_shipped() -> None:
        try:
            wait_until(lambda: harness.numbers() == [1])
            journal.append(to_line(row(2)))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop_when_shipped)
    with signals_restored():
        signal.signal(signal.SIGTERM, lambda *_: None)  # in case that the command ends before it can hear it
        thread.start()
        try:
            assert shipper.main() == 0
        finally:
            thread.join()
    journal.close()
    assert harness.numbers() == [1, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "JOURNAL_DIR: Field required\n"),
        ({"PROVENANCE_URL": "sqlite://"}, "JOURNAL_DIR: Field required\n"),
        ({"JOURNAL_DIR": "."}, "PROVENANCE_URL: not set, and neither is MYSQL_USER"),
        ({"JOURNAL_DIR": ".", "MYSQL_USER": "me"}, "MYSQL_PASSWORD_FILE: not set, and neither is MYSQL_PASSWORD"),
        (
            {"JOURNAL_DIR": ".", "MYSQL_USER": "me", "MYSQL_PASSWORD_FILE": "/dev/null"},
            "MYSQL_PASSWORD_FILE: /dev/null: the file is empty",
        ),
        ({"JOURNAL_DIR": ".", "MYSQL_USER": "me", "MYSQL_PASSWORD_FILE": "/no"}, "MYSQL_PASSWORD_FILE: /no: the secret cannot"),
        ({"JOURNAL_DIR": ".", "PROVENANCE_URL": "nonsense"}, "PROVENANCE_URL: "),
        ({"JOURNAL_DIR": ".", "PROVENANCE_URL": "paper://me:hunter2@host/x"}, "PROVENANCE_URL: "),
        ({"JOURNAL_DIR": ".", "PROVENANCE_URL": "mysql+mysqlconnector://me:hunter2@/x"}, "PROVENANCE_URL: "),
        ({"JOURNAL_DIR": ".", "PROVENANCE_URL": "mysql+nodriver://me:hunter2@host:port/x"}, "PROVENANCE_URL: "),
    ],
)
def test_bad_settings_are_named(
    settings: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 and one line with the setting's name, never with a password."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert shipper.main() == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert "hunter2" not in error
