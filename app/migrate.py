"""`python -m app.migrate`: MySQL's database, tables, accounts and days as this code needs them. It can run twice, and at once.

It logs in as root, waits for a server that is still starting, and sets the accounts' passwords to what their files say.
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
from app.provenance.schema import GRANTS, HOST, MIGRATIONS, NOTES, SERVICE, UPKEEP, UPKEEP_GRANTS
from app.settings import MigrateSettings, settings_problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import sqlalchemy as sa

log = logging.getLogger(__name__)

LOCK, LOCK_SECONDS = "movierec.migrate", 60
LOOK_SECONDS = 0.5
# Of the driver: nobody listens, the connection broke (at times without a number); and of a server that is stopping.
NOT_UP = (2003, 2006, 2013, 2055, None, 1053)
ACCESS_DENIED = 1045
OTHER_SECRETS = (
    "The database was made by another checkout, with other secrets than this one has. "
    "Either take over the secrets of that checkout: sudo cp -a THAT_CHECKOUT/.secrets . && docker compose up -d --wait. "
    "Or delete the database with all its rows: docker compose down -v && docker compose up -d --wait. "
    "Where MYSQL_ROOT_PASSWORD in .env was changed instead, set the old value again: see docs/operations.md, A new password."
)


class MigrateError(Exception):
    """The database cannot be brought up to date; the text is one line with what to do."""


class Secrets(NamedTuple):
    """The passwords: of root, and those that the accounts get, by their names."""

    root: str
    accounts: Mapping[str, str]


def migrate(settings: MigrateSettings, secrets: Secrets) -> None:
    """Bring the database up to date. Raises MigrateError or DatabaseError."""
    host, port, name = settings.mysql_host, settings.mysql_port, settings.mysql_database
    engine = open_engine(mysql_url(host, port, None, "root", secrets.root))
    with wait_for(engine, settings.migrate_seconds) as connection:
        if run(connection, "SELECT GET_LOCK(%s, %s)", LOCK, LOCK_SECONDS).scalar_one() != 1:
            raise MigrateError(f"another migration has gone on for {LOCK_SECONDS} s: run this again when it is done")
        run(connection, f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4")
        run(connection, f"USE `{name}`")
        _make_accounts(connection, secrets.accounts)
        for number in _apply_new(connection):
            log.info("migration %d is done", number)
        _grant(connection)
        keep = (settings.provenance_keep_days, int(settings.provenance_max_gb * 1e9))
        run(connection, "REPLACE INTO retention VALUES (1, %s, %s)", *keep)
        run(connection, "CALL upkeep()")
        connection.commit()
    engine.dispose()
    track_own(mysql_url(host, port, name, "root", secrets.root), settings.model_dir)


def wait_for(engine: sa.Engine, seconds: float) -> sa.Connection:
    """A connection, as soon as the server takes one.

    Raises MigrateError after `seconds` without a server, or where the server refuses the password; DatabaseError else.
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
        time.sleep(LOOK_SECONDS)


def run(connection: sa.Connection, statement: str, *told: object) -> sa.CursorResult[Any]:
    """One statement of MySQL's; `told` stands for its `%s`."""
    if told:
        return connection.exec_driver_sql(statement, told)
    return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _make_accounts(connection: sa.Connection, passwords: Mapping[str, str]) -> None:
    run(connection, f"CREATE USER IF NOT EXISTS {UPKEEP}@localhost ACCOUNT LOCK")
    for account, password in passwords.items():
        run(connection, "CREATE USER IF NOT EXISTS %s@'%' IDENTIFIED BY %s", account, password)
        run(connection, "ALTER USER %s@'%' IDENTIFIED BY %s", account, password)


def _apply_new(connection: sa.Connection) -> list[int]:
    """Run the migrations that are not noted yet; their numbers."""
    run(connection, NOTES)
    done = set(run(connection, "SELECT number FROM schema_migrations").scalars())
    new = [migration for migration in MIGRATIONS if migration.number not in done]
    for migration in new:
        for statement in migration.statements:
            run(connection, statement)
        run(connection, "INSERT INTO schema_migrations (number) VALUES (%s)", migration.number)
        connection.commit()
    return [migration.number for migration in new]


def _grant(connection: sa.Connection) -> None:
    for rights in UPKEEP_GRANTS:
        run(connection, f"GRANT {rights} TO {UPKEEP}@localhost")
    for account, each in GRANTS.items():
        for rights in each:
            run(connection, f"GRANT {rights} TO {account}@'%'")


def track_own(url: str, model_dir: Path) -> None:
    """Put the `tracking` row of the version that this image serves, unless the pipeline has put it."""
    try:
        metadata = read_metadata(model_dir)
    except ArtifactError as error:
        log.info("no version is tracked: %s", error)
        return
    ledger = Ledger(url)
    ledger.track_new(with_times(tracking_row(metadata, model_dir)))
    ledger.close()


def one_line(error: Exception) -> str:
    """What the database said, without SQLAlchemy's second line."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def main() -> int:
    """The command; 0, 1 where the database cannot be brought up to date, 2 for settings that cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = MigrateSettings()
        accounts = {SERVICE: read_secret(settings.service_password_file), HOST: read_secret(settings.host_password_file)}
        secrets = Secrets(read_secret(settings.mysql_root_password_file), accounts)
    except ValidationError as error:
        sys.stderr.write(f"migrate: {settings_problem(error)}\n")
        return 2
    except SecretError as error:
        sys.stderr.write(f"migrate: {error}\n")
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
