"""`python -m app.migrate`: makes MySQL's database, tables, accounts and partitions. It may run again, and twice at once.

It logs in as root, waits for a server that is still starting, and sets the accounts' passwords from their files.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from app.model import ArtifactError, read_metadata
from app.provenance import DatabaseError, Ledger, SecretError, mysql_url, read_secret, tracking_row, with_times
from app.provenance.mysql import error_number, open_engine
from app.provenance.schema import CONSOLE, GRANTS, HOST, MIGRATIONS, SCHEMA_MIGRATIONS, SERVICE, UPKEEP, UPKEEP_GRANTS
from app.settings import MigrateSettings, settings_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import sqlalchemy as sa

log = logging.getLogger(__name__)

LOCK, LOCK_SECONDS = "movierec.migrate", 60
RETRY_SECONDS = 0.5
# The driver's errors for a server that does not listen and for a broken connection (some have no number). 1053: it shuts down.
NOT_UP = (2003, 2006, 2013, 2055, None, 1053)
ACCESS_DENIED = 1045
OTHER_SECRETS = (
    "Another checkout made the database, with other secrets than this checkout has. "
    "Either take over the secrets of that checkout: sudo cp -a THAT_CHECKOUT/.secrets . && docker compose up -d --wait. "
    "Or delete the database with all its rows: docker compose down -v && docker compose up -d --wait. "
    "If MYSQL_ROOT_PASSWORD in .env was changed instead, set the old value again: see docs/operations.md, A new password. "
    "On a cluster, root_password in the Secret of the passwords must be the one that the server has."
)


class MigrateError(Exception):
    """The database cannot be brought up to date; the text is one line with what to do."""


class Secrets(NamedTuple):
    """Root's password, and the passwords that the accounts get, by account."""

    root: str
    accounts: Mapping[str, str]


def migrate(settings: MigrateSettings, secrets: Secrets) -> None:
    """Bring the database up to date. Raises MigrateError or DatabaseError."""
    host, port, name = settings.mysql_host, settings.mysql_port, settings.mysql_database
    engine = open_engine(mysql_url(host, port, None, "root", secrets.root))
    with wait_for(engine, settings.migrate_seconds) as connection:
        if run(connection, "SELECT GET_LOCK(%s, %s)", LOCK, LOCK_SECONDS).scalar_one() != 1:
            raise MigrateError(f"another migration has been running for {LOCK_SECONDS} s: run this again when it is done")
        run(connection, f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4")
        run(connection, f"USE `{name}`")
        _make_accounts(connection, secrets.accounts)
        for number in _apply_new(connection):
            log.info("migration %d is done", number)
        _grant(connection, secrets.accounts)
        keep = (settings.provenance_keep_days, int(settings.provenance_max_gb * 1e9))
        run(connection, "REPLACE INTO retention VALUES (1, %s, %s)", *keep)
        run(connection, "CALL upkeep()")
        connection.commit()
    engine.dispose()
    track_own(mysql_url(host, port, name, "root", secrets.root), settings.model_dir)


def wait_for(engine: sa.Engine, seconds: float) -> sa.Connection:
    """A connection, as soon as the server accepts one.

    Raises MigrateError if there is no server for `seconds`, or if the server refuses the password. Raises DatabaseError for
    any other error.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return engine.connect()
        except DatabaseError as error:
            number, address = error_number(error), f"{engine.url.host}:{engine.url.port}"
            if number == ACCESS_DENIED:
                raise MigrateError(f"MySQL at {address} refuses the login: {one_line(error)}. {OTHER_SECRETS}") from error
            if number not in NOT_UP:
                raise
            if time.monotonic() > until:
                raise MigrateError(f"no MySQL at {address} within {seconds:g} s: is it up? {one_line(error)}") from error
        time.sleep(RETRY_SECONDS)


def run(connection: sa.Connection, statement: str, *parameters: object) -> sa.CursorResult[Any]:
    """Execute one statement of MySQL. `parameters` replace its `%s`."""
    if parameters:
        return connection.exec_driver_sql(statement, parameters)
    return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _make_accounts(connection: sa.Connection, passwords: Mapping[str, str]) -> None:
    run(connection, f"CREATE USER IF NOT EXISTS {UPKEEP}@localhost ACCOUNT LOCK")
    for account, password in passwords.items():
        run(connection, "CREATE USER IF NOT EXISTS %s@'%' IDENTIFIED BY %s", account, password)
        run(connection, "ALTER USER %s@'%' IDENTIFIED BY %s", account, password)


def _apply_new(connection: sa.Connection) -> list[int]:
    """Run the migrations that the database has not had yet. Returns their numbers."""
    run(connection, SCHEMA_MIGRATIONS)
    done = set(run(connection, "SELECT number FROM schema_migrations").scalars())
    new = [migration for migration in MIGRATIONS if migration.number not in done]
    for migration in new:
        for statement in migration.statements:
            run(connection, statement)
        run(connection, "INSERT INTO schema_migrations (number) VALUES (%s)", migration.number)
        connection.commit()
    return [migration.number for migration in new]


def _grant(connection: sa.Connection, accounts: Iterable[str]) -> None:
    for rights in UPKEEP_GRANTS:
        run(connection, f"GRANT {rights} TO {UPKEEP}@localhost")
    for account in accounts:
        for rights in GRANTS[account]:
            run(connection, f"GRANT {rights} TO {account}@'%'")


def track_own(url: str, model_dir: Path) -> None:
    """Insert the `tracking` row of the version in this image, unless the pipeline has inserted it."""
    try:
        metadata = read_metadata(model_dir)
    except ArtifactError as error:
        log.info("no tracking row is added: %s", error)
        return
    ledger = Ledger(url)
    ledger.track_new(with_times(tracking_row(metadata, model_dir)))
    ledger.close()


def one_line(error: Exception) -> str:
    """The database's message, without the lines that SQLAlchemy adds."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def main() -> int:
    """Run the command. Returns 0, 1 if the database cannot be brought up to date, 2 for unusable settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = MigrateSettings()
        files = {
            SERVICE: settings.service_password_file,
            HOST: settings.host_password_file,
            CONSOLE: settings.console_password_file,
        }
        accounts = {account: read_secret(file) for account, file in files.items() if file is not None}
        secrets = Secrets(read_secret(settings.mysql_root_password_file), accounts)
    except (SecretError, ValidationError) as error:
        sys.stderr.write(f"migrate: {settings_problem(error)}\n")
        return 2
    try:
        migrate(settings, secrets)
    except (DatabaseError, MigrateError) as error:
        sys.stderr.write(f"migrate: {one_line(error)}\n")
        return 1
    log.info("the database is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
