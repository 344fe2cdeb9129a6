from __future__ import annotations

import signal
import time
from contextlib import closing
from typing import TYPE_CHECKING

import mysql.connector
import pytest

from app.provenance import DatabaseError, SchemaError
from app.provenance.archive import Archive
from app.provenance.schema import NEWEST
from scripts.ports import reserve
from tests.integration.mysql.server import HOST_PASSWORD, ROOT_PASSWORD, SERVICE_PASSWORD, Database, Server, docker
from tests.unit.app import samples
from tests.unit.app.samples import row

if TYPE_CHECKING:
    from pathlib import Path

SERVICE, HOST = ("movierec_service", SERVICE_PASSWORD), ("movierec_host", HOST_PASSWORD)
KNOWN = {
    "version": samples.VERSION,
    "data_creation": "2026-01-02T03:04:05Z",
    "trained_on": "2026-01-02T03:04:06Z",
    "rmse": 0.75,
}


def test_an_empty_server_gets_all_that_is_needed_and_keeps_it(database: Database, service: Archive) -> None:
    """Tables and migrations once; run again nothing changes, and rows stay."""
    service.add_answers("stable-1/1.tsv", [row(1)], 100)
    before = database.ask("select number, applied_at from schema_migrations")
    assert [number for number, _ in before] == list(range(1, NEWEST + 1))
    database.migrate()
    assert database.ask("select number, applied_at from schema_migrations") == before
    assert service.answer_ids() == [row(1).answer_id]
    tables = {"reccom", "served_lists", "tracking", "journal_marks", "retention", "schema_migrations"}
    assert {name for (name,) in database.ask("show tables")} == tables


def test_many_migrations_at_once_do_it_once(empty: Database) -> None:
    """On an empty server: all end well, and each migration is noted once."""
    processes = [empty.process("app.migrate") for _ in range(4)]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ended
    assert len(empty.ask("select * from schema_migrations")) == NEWEST
    assert sum(b"migration 1 is done" in errors for _, errors in ended) == 1


def test_a_killed_migration_is_finished_by_the_next(empty: Database) -> None:
    """Kill -9 at moments from the start on: the next one ends well."""
    for step in range(6):
        process = empty.process("app.migrate")
        time.sleep(0.35 + 0.05 * step)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    empty.migrate()
    assert len(empty.ask("select * from schema_migrations")) == NEWEST
    assert len(empty.days()) == 3 + 1 + 7 + 1


def test_passwords_become_what_their_files_say(database: Database, server: Server) -> None:
    """A new one is taken, the old one refused."""
    database.secret("host_password", "another\\'one%")
    database.migrate()
    server.connect(database.name, "movierec_host", "another\\'one%").close()
    with pytest.raises(mysql.connector.Error, match="Access denied"):
        server.connect(database.name, *HOST)
    database.secret("host_password", HOST_PASSWORD)
    database.migrate()


def test_logins_are_encrypted(service: Archive) -> None:
    """The password never crosses the network readable: the connection has a cipher."""
    with service.engine.connect() as connection:
        ((_, cipher),) = connection.exec_driver_sql("show session status like 'Ssl_cipher'")
    assert cipher


@pytest.mark.parametrize(
    ("account", "statement"),
    [
        (SERVICE, "select user_id from reccom"),
        (SERVICE, "delete from reccom"),
        (SERVICE, "update reccom set user_id = 1"),
        (SERVICE, "alter table reccom drop partition future"),
        (SERVICE, "drop table reccom"),
        (SERVICE, "select * from tracking"),
        (SERVICE, "insert into tracking (version_number) values (1)"),
        (SERVICE, "update retention set keep_days = 1"),
        (SERVICE, "create table mine (a int)"),
        (SERVICE, "select user from mysql.user"),
        (HOST, "insert into reccom (answer_id, day) values ('a', '2026-01-01')"),
        (HOST, "delete from reccom"),
        (HOST, "call upkeep()"),
        (HOST, "select * from journal_marks"),
        (HOST, "update retention set keep_days = 1"),
        (HOST, "alter table tracking add column a int"),
        (HOST, "select user from mysql.user"),
    ],
)
def test_an_account_may_do_no_more_than_it_needs(shared: Database, account: tuple[str, str], statement: str) -> None:
    """Everything else is denied."""
    with pytest.raises(mysql.connector.Error, match="denied"):
        shared.ask(statement, user=account[0], password=account[1])


def test_nobody_logs_in_as_the_one_who_drops_days(shared: Database, server: Server) -> None:
    """Its account is locked, and only of the server's own machine."""
    with pytest.raises(mysql.connector.Error, match="Access denied"):
        server.connect(shared.name, "movierec_upkeep", "")
    assert shared.ask("select account_locked, host from mysql.user where user = 'movierec_upkeep'") == [("Y", "localhost")]


def test_the_version_in_the_image_is_tracked_unless_it_is_already(database: Database, tmp_path: Path) -> None:
    """Put once; what the pipeline has put stays."""
    metadata = {**KNOWN, "git_commit": "c" * 40, "data_md5": "d" * 32}
    model = samples.save(tmp_path / "model", metadata)
    database.migrate(MODEL_DIR=str(model))
    query = "select version_number, date_format(trained_on, '%Y-%m-%d %T'), model_rmse from tracking"
    assert database.ask(query) == [(samples.VERSION, "2026-01-02 03:04:06", 0.75)]
    database.ask("update tracking set model_rmse = 0.5")
    database.migrate(MODEL_DIR=str(model))
    assert database.ask(query)[0][2] == 0.5


def test_a_server_that_starts_is_waited_for(empty: Database, server: Server) -> None:
    """It waits until the server listens, and then continues."""
    (port,) = reserve()
    status, _, errors = empty.run("app.migrate", MYSQL_PORT=str(port), MIGRATE_SECONDS="1")
    assert status == 1
    assert errors.startswith(f"migrate: no MySQL at 127.0.0.1:{port} within 1 s: is it up?")
    assert errors.count("\n") == 1
    docker("stop", server.name)
    process = empty.process("app.migrate", MIGRATE_SECONDS="60")
    time.sleep(2)
    assert process.poll() is None
    docker("start", server.name)
    assert process.wait(60) == 0
    process.communicate()
    server.wait()


@pytest.mark.parametrize(
    ("change", "status", "expected"),
    [
        (("root_password", "wrong"), 1, "Access denied for user 'root'"),
        (("root_password", ""), 2, "root_password: the file is empty"),
        (("host_password", ""), 2, "host_password: the file is empty"),
    ],
)
def test_an_unusable_secret_is_reported(empty: Database, change: tuple[str, str], status: int, expected: str) -> None:
    """One line with the file or the account, without the secret."""
    empty.secret(*change)
    ended, _, errors = empty.run("app.migrate")
    assert ended == status
    assert expected in errors
    assert errors.count("\n") == 1
    assert "wrong" not in errors


def test_secrets_that_are_not_those_of_the_database_are_an_error_with_both_ways_out(empty: Database, server: Server) -> None:
    """As of a second clone on a host where the first one's volumes are left. Nothing in the database changes."""
    accounts = "select user, host, authentication_string from mysql.user order by user, host"
    before = server_rows(server, accounts)
    empty.secret("root_password", "of-another-checkout")
    status, _, errors = empty.run("app.migrate")
    assert status == 1
    assert errors.startswith(f"migrate: MySQL at 127.0.0.1:{server.port} refuses the login: ")
    assert "1045" in errors
    assert "Another checkout made the database, with other secrets than this checkout has" in errors
    assert "sudo cp -a THAT_CHECKOUT/.secrets . && docker compose up -d --wait" in errors
    assert "delete the database with all its rows: docker compose down -v" in errors
    assert errors.count("\n") == 1
    assert "of-another-checkout" not in errors
    assert server_rows(server, accounts) == before
    empty.secret("root_password", ROOT_PASSWORD)
    empty.migrate()


def server_rows(server: Server, query: str) -> list[tuple[object, ...]]:
    """What root gets for a query about the whole server."""
    with closing(server.connect(None, "root", ROOT_PASSWORD)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


def test_a_schema_that_is_missing_is_reported_with_what_to_do(database: Database) -> None:
    """By either account, where the database has no notes of migrations, or older ones."""
    for url in (database.service, database.host):
        with closing(Archive(url)) as archive:
            archive.create()
            database.ask("update schema_migrations set number = -number")
            with pytest.raises(SchemaError, match=r"python -m app\.migrate"):
                archive.create()
            database.ask("update schema_migrations set number = -number")
    database.ask("drop table schema_migrations")
    with closing(Archive(database.service)) as archive, pytest.raises(DatabaseError, match=r"app\.migrate"):
        archive.create()
