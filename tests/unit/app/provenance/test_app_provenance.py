from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from app.provenance import DatabaseError, Ledger, error_number
from app.provenance.archive import Archive
from tests.unit.app.samples import row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.provenance import TrackingRow

JOURNAL = "stable-1/1.tsv"
TRAINED = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - the tables hold UTC without a zone
VERSION: TrackingRow = {
    "version_number": 3,
    "data_creation": TRAINED - timedelta(hours=1),
    "trained_on": TRAINED,
    "model_rmse": 0.75,
    "git_commit": "c" * 40,
    "data_md5": "d" * 32,
    "model_md5": "e" * 32,
}
# As it stands in the contract.
SEEDS_QUERY = (
    "select A.version_number, A.user_id, B.data_creation, B.trained_on, B.model_rmse "
    "from reccom A, tracking B where A.version_number = B.version_number"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The database's file."""
    return tmp_path / "provenance.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """A database with its tables."""
    made = Ledger(f"sqlite:///{path}")
    made.create()
    yield made
    made.close()


def query(path: Path, text: str) -> list[Any]:
    """The result of a query, without the ledger."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(text).fetchall()


def change(path: Path, text: str) -> None:
    """Change the database behind the ledger's back."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(text)


def test_tables_are_made_once(ledger: Ledger) -> None:
    """Making the tables again leaves what is in them."""
    ledger.add_answers(JOURNAL, [row(1)], 100)
    ledger.create()
    assert ledger.count() == 1
    assert ledger.taken() == {JOURNAL: 100}


def test_answers_come_with_all_that_is_reported_of_them(ledger: Ledger, path: Path) -> None:
    """A row has the columns of the contract, with the time in UTC to the microsecond."""
    ledger.add_answers(JOURNAL, [row(1)], 100)
    statement = "select version_number, user_id, answer_id, request_id, track, served_at, step, digest from reccom"
    assert query(path, statement) == [
        (3, 5, f"{1:032x}", "request-1", "stable", "2025-06-15 15:06:40.123456", "known", "0123456789abcdef")
    ]


@given(served_at=st.integers(0, 10**16 - 1))
def test_times_keep_their_microseconds(tmp_path_factory: pytest.TempPathFactory, served_at: int) -> None:
    """The moment that the worker noted is the one in the table, to the microsecond."""
    path = tmp_path_factory.getbasetemp() / "times.sqlite"
    ledger = Ledger(f"sqlite:///{path}")
    ledger.create()
    ledger.add_answers(JOURNAL, [row(served_at, served_at=served_at)], 1)
    ledger.close()
    ((text,),) = query(path, f"select served_at from reccom where answer_id = '{served_at:032x}'")
    since_1970 = datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert since_1970 == timedelta(microseconds=served_at)


def test_the_greatest_numbers_fit(ledger: Ledger, path: Path) -> None:
    """A user of 2^63-1 and a version of 2^31-1 come back as they are."""
    archive = Archive(f"sqlite:///{path}")
    ledger.track({"version_number": 2**31 - 1})
    ledger.add_answers(JOURNAL, [row(1, user_id=2**63 - 1, version_number=2**31 - 1)], 100)
    (found,) = archive.find("user_id", 2**63 - 1)
    assert (found.user_id, found.version_number) == (2**63 - 1, 2**31 - 1)
    archive.close()


def test_an_answer_is_added_once(ledger: Ledger) -> None:
    """Answers that come again, from the same journal or another, alone or among new ones, are there once."""
    ledger.add_answers(JOURNAL, [row(1), row(2)], 100)
    ledger.add_answers(JOURNAL, [row(1), row(2)], 100)
    ledger.add_answers("canary/1.tsv", [row(2, user_id=99), row(3)], 50)
    assert sorted(ledger.answer_ids()) == [f"{number:032x}" for number in (1, 2, 3)]
    assert ledger.count() == 3


def test_a_large_batch_that_is_known_in_part_is_added_once(ledger: Ledger) -> None:
    """More rows than one question holds: only those that are missing are added, also one that comes twice in the batch."""
    ledger.add_answers(JOURNAL, [row(number) for number in range(0, 2500, 2)], 100)
    ledger.add_answers(JOURNAL, [*(row(number) for number in range(2500)), row(7)], 200)
    assert sorted(ledger.answer_ids()) == [f"{number:032x}" for number in range(2500)]


def test_one_request_may_have_several_answers(ledger: Ledger) -> None:
    """A request that a proxy repeated has two answers under one request id."""
    ledger.add_answers(JOURNAL, [row(1), row(2)], 100)
    assert ledger.count() == 2


def test_marks_move_with_the_rows(ledger: Ledger) -> None:
    """After each batch the mark says how far the journal is in the database; each journal has one of its own."""
    ledger.add_answers(JOURNAL, [row(1)], 100)
    ledger.add_answers("canary/1.tsv", [], 7)
    ledger.add_answers(JOURNAL, [row(2)], 200)
    assert ledger.taken() == {JOURNAL: 200, "canary/1.tsv": 7}


@pytest.mark.parametrize("table", ["reccom", "journal_marks"])
def test_rows_and_mark_are_added_both_or_not_at_all(ledger: Ledger, path: Path, table: str) -> None:
    """Where either insert fails, neither rows nor mark have changed, and the same batch can be added later."""
    ledger.add_answers(JOURNAL, [row(1)], 100)
    change(path, f"create trigger refusing before insert on {table} begin select raise(abort, 'refused'); end")
    with pytest.raises(DatabaseError, match="refused"):
        ledger.add_answers(JOURNAL, [row(2), row(3)], 300)
    assert ledger.answer_ids() == [f"{1:032x}"]
    assert ledger.taken() == {JOURNAL: 100}
    change(path, "drop trigger refusing")
    ledger.add_answers(JOURNAL, [row(2), row(3)], 300)
    assert ledger.count() == 3
    assert ledger.taken() == {JOURNAL: 300}


def test_a_mark_is_dropped_with_its_journal(ledger: Ledger) -> None:
    """Forgetting a journal leaves the others and all answers."""
    ledger.add_answers(JOURNAL, [row(1)], 100)
    ledger.add_answers("canary/1.tsv", [row(2)], 50)
    ledger.forget_journal(JOURNAL)
    ledger.forget_journal("never/was.tsv")
    assert ledger.taken() == {"canary/1.tsv": 50}
    assert ledger.count() == 2


def test_a_version_replaces_itself(ledger: Ledger, path: Path) -> None:
    """A version that is tracked again has its new row, others stay."""
    ledger.track(VERSION)
    ledger.track({**VERSION, "version_number": 4})
    ledger.track({"version_number": 3, "model_rmse": 0.5})
    assert query(path, "select version_number, model_rmse, git_commit from tracking order by 1") == [
        (3, 0.5, None),
        (4, 0.75, "c" * 40),
    ]


def test_a_version_with_an_unknown_column_changes_nothing(ledger: Ledger, path: Path) -> None:
    """A column that is not there is refused, and the row that was there stays."""
    ledger.track(VERSION)
    with pytest.raises(DatabaseError, match="colour"):
        ledger.track({**VERSION, "colour": "blue"})  # type: ignore[typeddict-unknown-key]
    assert query(path, "select version_number from tracking") == [(3,)]


def test_the_seeds_query_runs_as_it_stands(ledger: Ledger, path: Path) -> None:
    """The join of the contract gives each answer with its version."""
    ledger.track(VERSION)
    ledger.add_answers(JOURNAL, [row(1), row(2, user_id=6), row(3, version_number=99)], 100)
    assert sorted(query(path, SEEDS_QUERY)) == [
        (3, 5, "2026-01-02 02:04:05.000000", "2026-01-02 03:04:05.000000", 0.75),
        (3, 6, "2026-01-02 02:04:05.000000", "2026-01-02 03:04:05.000000", 0.75),
    ]


def test_two_writers_wait_for_each_other(ledger: Ledger, path: Path) -> None:
    """While another process holds the database for a moment, an addition waits and then goes through."""
    other = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    other.execute("begin immediate")

    def let_go() -> None:
        time.sleep(0.2)
        other.execute("commit")

    thread = threading.Thread(target=let_go)
    thread.start()
    ledger.add_answers(JOURNAL, [row(1)], 100)
    thread.join()
    other.close()
    assert ledger.count() == 1


def test_readers_are_not_held_up_by_a_writer(ledger: Ledger, path: Path) -> None:
    """Somebody who asks in the midst of an addition gets what was there before, at once."""
    ledger.add_answers(JOURNAL, [row(1)], 100)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        other.execute("delete from reccom")
        assert ledger.count() == 1
        other.execute("rollback")


@pytest.mark.parametrize("place", ["missing/provenance.sqlite", "."])
def test_a_database_that_is_away_is_reported_at_every_use(tmp_path: Path, place: str) -> None:
    """A folder that is not there, or one in the file's place: DatabaseError from every method, nothing before."""
    ledger = Ledger(f"sqlite:///{tmp_path / place}")
    for use in (
        ledger.create,
        ledger.taken,
        lambda: ledger.add_answers(JOURNAL, [row(1)], 1),
        lambda: ledger.forget_journal(JOURNAL),
        lambda: ledger.track(VERSION),
        ledger.count,
        ledger.answer_ids,
    ):
        with pytest.raises(DatabaseError, match="unable to open database file"):
            use()
    ledger.close()


def test_a_mysql_that_is_away_is_reported_like_any_other() -> None:
    """Nobody listens on that port: DatabaseError with the address, and without the password."""
    ledger = Ledger("mysql+mysqlconnector://me:hunter2@127.0.0.1:1/movierec")
    with pytest.raises(DatabaseError, match=r"Can't connect to MySQL server on '127.0.0.1:1'") as caught:
        ledger.taken()
    assert "hunter2" not in str(caught.value)
    ledger.close()


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (sa.exc.OperationalError("select 1", (), Exception(1045, "Access denied")), 1045),
        (Exception(1045, "Access denied"), 1045),
        (sa.exc.OperationalError("select 1", (), sqlite3.OperationalError("no such table: x")), None),
        (sa.exc.InvalidRequestError("closed"), None),
        (Exception(-1, "of no number"), None),
        (Exception(), None),
    ],
)
def test_an_error_has_the_number_that_mysql_gave_it(error: Exception, number: int | None) -> None:
    """SQLAlchemy's errors and the driver's own; None where there is no number."""
    assert error_number(error) == number


def test_a_database_that_comes_back_is_used_again(tmp_path: Path) -> None:
    """The same ledger works once its folder is there."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'later' / 'provenance.sqlite'}")
    with pytest.raises(DatabaseError):
        ledger.create()
    (tmp_path / "later").mkdir()
    ledger.create()
    ledger.add_answers(JOURNAL, [row(1)], 1)
    assert ledger.count() == 1
    ledger.close()
