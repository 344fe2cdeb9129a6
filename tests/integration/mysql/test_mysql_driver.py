from __future__ import annotations

import time
import tracemalloc
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest
import sqlalchemy as sa

from app.provenance import DatabaseError, error_number, mysql
from app.provenance.archive import ROWS_A_READ, Archive
from app.provenance.ledger import ROWS_AN_INSERT
from tests.integration.conftest import wait_until
from tests.integration.mysql.server import ROOT_PASSWORD, Database, Server, docker
from tests.unit.app.samples import row

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from app.provenance import TrackingRow


@pytest.fixture
def impatient(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """The database as root has it, with every limit of time at a second."""
    for limit in ("connection_timeout", "read_timeout", "write_timeout"):
        monkeypatch.setitem(mysql._CONNECT, limit, 1)
    with closing(Archive(database.url("root", ROOT_PASSWORD))) as made:
        yield made


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """The server takes connections and answers nothing."""
    docker("pause", server.name)
    try:
        yield
    finally:
        docker("unpause", server.name)


def number_of(connection: sa.Connection) -> int:
    """The server's number of a connection."""
    return int(connection.exec_driver_sql("select connection_id()").scalar_one())


def test_a_server_without_tls_is_refused_before_any_login(tmp_path: Path) -> None:
    """By its own number, and at once: it is not waited for like a server that starts."""
    server = Server()
    database = Database(server, tmp_path)
    refused: list[int | None] = []

    def is_refused() -> bool:
        with pytest.raises(DatabaseError) as raised, closing(Archive(database.service)) as service:
            service.taken()
        refused.append(error_number(raised.value))
        return refused[-1] == 2026

    try:
        server.run("--auto-generate-certs=OFF")
        wait_until(is_refused, 60)
        assert set(refused) <= {2003, 2013, 2055, 2026}
        status, _, errors = database.run("app.migrate")
        assert (status, errors) == (1, "migrate: 2026: the server has no TLS, which every connection must use\n")
    finally:
        server.remove()


def test_a_login_is_taken_whether_the_server_has_it_in_its_cache_or_not(database: Database) -> None:
    """Of caching_sha2_password: the whole exchange after the cache was emptied, then the short one; both encrypted."""
    accounts = "select distinct plugin from mysql.user where user like 'movierec_%' or user = 'root'"
    assert database.ask(accounts) == [("caching_sha2_password",)]
    database.ask("flush privileges")
    with closing(Archive(database.service)) as service:
        for _ in range(2):
            with service.engine.connect() as connection:
                ((_, cipher),) = connection.exec_driver_sql("show session status like 'Ssl_cipher'")
            assert cipher
            service.close()


def test_every_connection_has_the_same_session(host: Archive) -> None:
    """Strict, in UTC, in utf8mb4, and one statement at a time: text of any language and sign comes back as it was."""
    with host.engine.connect() as connection:
        query = "select @@sql_mode, @@time_zone, @@character_set_connection"
        ((mode, zone, charset),) = connection.exec_driver_sql(query).all()
        assert {"TRADITIONAL", "STRICT_ALL_TABLES"} <= set(mode.split(","))
        assert (zone, charset) == ("+00:00", "utf8mb4")
        text = "50 %s %% %(a)s :b ? '' \"\\' \\ \n\t\0 ü 電影 🎬"
        assert connection.execute(sa.text("select :text"), {"text": text}).scalar_one() == text
        assert connection.exec_driver_sql("select 7 % 4, 'a%sb%%'").all() == [(3, "a%sb%%")]
        with pytest.raises(DatabaseError, match="syntax"):
            connection.exec_driver_sql("select 1; select 2")


def test_what_looks_like_sql_or_a_parameter_is_stored_as_it_is(service: Archive, host: Archive) -> None:
    """In one statement with others, and again in the one that follows a row that was there already."""
    texts = [
        "%s",
        "%%s",
        "%(user_id)s",
        "'); drop table reccom; -- ",
        '\\"',
        "`",
        "VALUES (%s)",
        "delimiter ; x",
        "/* x */",
        "a,b)",
    ]
    rows = [row(number, request_id=text, inputs=text) for number, text in enumerate(texts)]
    service.add_answers("stable-1/1.tsv", rows[:3], 1)
    service.add_answers("stable-1/1.tsv", rows, 2)
    assert sorted(host.everything(), key=repr) == sorted(rows, key=repr)
    assert [found.request_id for text in texts for found in host.find("request_id", text)] == texts


def test_a_batch_of_any_length_arrives_whole(service: Archive, host: Archive) -> None:
    """Several inserts in one transaction, some of the rows there already, each row at its longest."""
    longest = {"request_id": "r" * 64, "inputs": "i" * 64, "step": "s" * 16, "user_id": 2**63 - 1}
    rows = [row(number, **longest) for number in range(2 * ROWS_AN_INSERT + 1)]
    service.add_answers("stable-1/1.tsv", [rows[0], rows[ROWS_AN_INSERT + 7]], 1)
    service.add_answers("stable-1/1.tsv", rows, 2)
    assert sorted(host.answer_ids()) == sorted(each.answer_id for each in rows)
    assert service.taken() == {"stable-1/1.tsv": 2}


def test_of_a_user_with_many_answers_only_the_newest_are_read(service: Archive, host: Archive) -> None:
    """MySQL counts the rows that it reads. A hundredth of all answers may be to one user, and a page waits for them."""
    service.add_answers("stable-1/1.tsv", [row(number, user_id=number % 2) for number in range(2000)], 1)
    before = rows_read(host)
    assert [int(each.answer_id, 16) for each in host.find("user_id", 1, 10)] == list(range(1981, 2000, 2))
    assert rows_read(host) - before < 100


def rows_read(archive: Archive) -> int:
    """How many rows MySQL has read for the connection of an archive that nobody else uses."""
    with archive.engine.connect() as connection:
        return sum(int(count) for _, count in connection.exec_driver_sql("show session status like 'Handler_read%%'"))


def test_whatever_an_operator_asks_is_answered(service: Archive, host: Archive) -> None:
    """Each question once, on answers with and without a version; the types are those of the columns."""
    version: TrackingRow = {
        "version_number": 3,
        "data_creation": None,
        "trained_on": None,
        "model_rmse": 0.75,
        "git_commit": "c" * 40,
        "data_md5": None,
        "model_md5": "e" * 32,
    }
    rows = [row(1), row(2, version_number=4, user_id=6, request_id="another"), row(3, track="canary")]
    host.track_new(version)
    host.track_new({**version, "model_rmse": 1.0})
    service.add_answers("stable-1/1.tsv", rows, 100)
    (found,) = host.find("answer_id", rows[0].answer_id)
    assert (found.git_commit, found.model_rmse, found.data_md5, found.user_id) == ("c" * 40, 0.75, None, 5)
    (found,) = host.find("request_id", "another")
    assert (found.version_number, found.git_commit) == (4, None)
    assert host.find("user_id", 77) == []
    assert host.last_users(2) == [5, 6]
    served = [
        (found.user_id, found.version_number, found.track, found.served_at, found.digest) for found in host.find("user_id", 5)
    ]
    moments = sorted(found[3] for found in served)
    assert sorted(host.served_between(moments[0], moments[-1] + timedelta(seconds=1)), key=repr)[:2] == sorted(served, key=repr)
    assert host.version(3) == version
    assert host.version(9) is None
    assert host.versions() == [version]
    assert [(each.track, each.answers, each.first, each.last) for each in host.served_by(3)] == [
        ("canary", 1, moments[-1], moments[-1]),
        ("stable", 1, moments[0], moments[0]),
    ]
    assert host.count() == 3
    service.forget_journal("stable-1/1.tsv")
    assert service.taken() == {}


@pytest.fixture
def many(service: Archive) -> int:
    """So many rows are there, of which a reader takes four times."""
    for part in range(4):
        service.add_answers("stable-1/1.tsv", [row(part * ROWS_A_READ + number) for number in range(ROWS_A_READ)], part)
    return 4 * ROWS_A_READ


def test_a_long_answer_is_never_in_memory_as_a_whole(host: Archive, many: int) -> None:
    """A backup has a reader's worth of rows at a time, about 1.5 KB each."""
    tracemalloc.start()
    try:
        assert sum(1 for _ in host.everything()) == many
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < many * 1000, peak


def test_a_reader_that_stops_halfway_leaves_no_trace(
    host: Archive, many: int, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection is closed, with the unread rest of the result. The next query gets its own result."""
    begun = time.monotonic()
    with closing(cast("Generator[object]", host.everything())) as reading:
        next(reading)
    assert host.count() == many
    assert time.monotonic() - begun < 5
    ids = "select count(*) from information_schema.processlist where user = 'movierec_host' and db = %s"
    assert database.ask(ids, database.name) == [(1,)]
    assert caplog.records == []


@pytest.mark.parametrize("query", ["select sleep(3), 111", "select 1 union all select sleep(3)"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_comes_too_late_is_never_taken_for_the_next_one(impatient: Archive, query: str, stream: bool) -> None:  # noqa: FBT001 - a case
    """A query that takes longer than the limit ends with it, and its connection too, whether rows came before or not."""
    with impatient.engine.connect() as connection:
        before = number_of(connection)
        begun = time.monotonic()
        with pytest.raises(DatabaseError, match="no answer within 1 s") as late:
            connection.execution_options(stream_results=stream).exec_driver_sql(query).all()
    assert time.monotonic() - begun < 3
    assert (type(late.value), error_number(late.value)) == (sa.exc.OperationalError, 2013)
    assert str(late.value).splitlines()[0].endswith("(no answer within 1 s)")
    with impatient.engine.connect() as connection:
        assert number_of(connection) != before
        assert connection.exec_driver_sql("select 222").scalar_one() == 222


def test_a_server_that_hangs_holds_nobody_for_ever(impatient: Archive, server: Server) -> None:
    """Neither who connects, nor who waits for an answer, nor who writes more than the network takes."""
    large = "select length('" + "x" * 48_000_000 + "')"
    for statement in ("select 1", large):
        with impatient.engine.connect() as connection:
            number_of(connection)
            begun = time.monotonic()
            with paused(server), pytest.raises(DatabaseError, match=r"no answer within 1 s|not available"):
                connection.exec_driver_sql(statement)
            assert time.monotonic() - begun < 10
    impatient.close()
    begun = time.monotonic()
    with paused(server), pytest.raises(DatabaseError, match="no answer within 1 s") as away:
        impatient.count()
    assert error_number(away.value) == 2003
    assert time.monotonic() - begun < 5
    assert impatient.count() == 0


@pytest.mark.parametrize("end", ["kill", "idle"])
def test_a_connection_that_the_server_ended_is_made_again(impatient: Archive, database: Database, end: str) -> None:
    """Killed by an operator, or closed because it was idle for too long: the next query succeeds."""
    with impatient.engine.connect() as connection:
        before = number_of(connection)
        connection.exec_driver_sql("set session wait_timeout = 1")
    if end == "kill":
        database.ask(f"kill {before}")
    else:
        time.sleep(2)
    with impatient.engine.connect() as connection:
        assert number_of(connection) != before


def test_a_query_that_the_server_gives_up_leaves_its_connection(
    host: Archive, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`served_by` has its own time limit: the error names it, and the connection is used again."""
    monkeypatch.setattr("app.provenance.archive.COUNT_SECONDS", 1)
    with host.engine.connect() as connection:
        before = number_of(connection)
    with closing(database.server.connect(database.name, "root", ROOT_PASSWORD)) as root, root.cursor() as cursor:
        cursor.execute("lock tables reccom write")
        with pytest.raises(DatabaseError, match="maximum statement execution time exceeded") as limited:
            host.served_by(3)
    assert error_number(limited.value) == 3024
    with host.engine.connect() as connection:
        assert number_of(connection) == before
