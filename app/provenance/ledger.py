"""The database for services, pipeline and operators: SQLite in the demo, MySQL in the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from app.provenance.mysql import error_number, open_engine
from app.provenance.schema import NEWEST
from app.provenance.tables import columns, journal_marks, reccom, served_lists, tables, tracking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from app.journal import Row, ServedList
    from app.provenance.tables import TrackingRow

IDS_A_QUERY = 1000
_LIST_KEY = ("list_id", "user_id", "version_number", "day")
ROWS_AN_INSERT = 5000  # at most 1.3 MB: the driver sends a list as one statement of any length

# The database's own errors, for callers that must not import SQLAlchemy.
DatabaseError = sa.exc.SQLAlchemyError


class SchemaError(DatabaseError):
    """The database's schema is older than this code; the text says what to run."""


class Ledger:
    """The database. Every method raises `DatabaseError` if the database cannot be reached."""

    def __init__(self, url: str, seconds: int | None = None) -> None:
        """`seconds` as in `open_engine`."""
        self.engine = open_engine(url, seconds)
        self._is_mysql = self.engine.dialect.name == "mysql"

    def create(self) -> None:
        """Create the missing tables in SQLite. Raises SchemaError if MySQL's schema is not up to date."""
        if not self._is_mysql:
            tables.create_all(self.engine)
            return
        try:
            with self.engine.connect() as connection:
                newest = connection.execute(sa.text("select max(number) from schema_migrations")).scalar_one()
        except sa.exc.DBAPIError as error:
            if not is_refused(error):
                raise
            newest = None
        if (newest or 0) < NEWEST:
            raise SchemaError(f"the schema is {newest or 'missing'}, but {NEWEST} is needed: run python -m app.migrate")

    def upkeep(self) -> None:
        """Have MySQL add partitions for the next days, and drop old ones by `PROVENANCE_KEEP_DAYS` and `PROVENANCE_MAX_GB`."""
        if self._is_mysql:
            with self.engine.begin() as connection:
                connection.execute(sa.text("call upkeep()"))

    def taken(self) -> dict[str, int]:
        """How many bytes of each journal are in the database, by journal."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(journal_marks.c.journal, journal_marks.c.bytes_taken))
            return {journal: taken for journal, taken in rows}  # noqa: C416 - rows are no tuples for mypy

    def add_answers(self, journal: str, rows: Sequence[Row], taken: int, lists: Sequence[ServedList] = ()) -> None:
        """Add the answers and lists that are not there yet, and set the journal's mark to `taken` bytes, in one transaction."""
        with self.engine.begin() as connection:
            insert_new(connection, rows)
            insert_new_lists(connection, lists)
            connection.execute(sa.delete(journal_marks).where(journal_marks.c.journal == journal))
            connection.execute(sa.insert(journal_marks), {"journal": journal, "bytes_taken": taken})

    def forget_journal(self, journal: str) -> None:
        """Delete the mark of a removed journal."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(journal_marks).where(journal_marks.c.journal == journal))

    def track(self, version: TrackingRow) -> None:
        """Insert a version's `tracking` row, or replace it."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(tracking).where(tracking.c.version_number == version["version_number"]))
            connection.execute(sa.insert(tracking).values(dict(version)))

    def track_new(self, version: TrackingRow) -> None:
        """Insert a version's `tracking` row, unless there is one."""
        with self.engine.begin() as connection:
            there = sa.select(tracking.c.version_number).where(tracking.c.version_number == version["version_number"])
            if connection.execute(there).first() is None:
                connection.execute(sa.insert(tracking).values(dict(version)))

    def count(self) -> int:
        """The number of answers."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(reccom)).scalar_one()

    def answer_ids(self) -> list[str]:
        """The ids of all answers."""
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(reccom.c.answer_id)).scalars())

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def insert_new(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Insert the rows that are not there yet. `INSERT IGNORE` would do the same, but it also cuts values that do not fit."""
    wanted = {row.answer_id: columns(row) for row in rows}
    try:
        _insert(connection, list(wanted.values()))
    except sa.exc.IntegrityError:
        known = {answer_id for (answer_id,) in known_rows(connection, rows, reccom.c.answer_id)}
        _insert(connection, [row for answer_id, row in wanted.items() if answer_id not in known])


def insert_new_lists(connection: sa.Connection, lists: Sequence[ServedList]) -> None:
    """Insert the served lists that are not there yet. A list is kept once for each day that it was served on."""
    wanted = {tuple(row[name] for name in _LIST_KEY): row for row in map(columns, lists)}
    for start in range(0, len(wanted), IDS_A_QUERY):
        keys = list(wanted)[start : start + IDS_A_QUERY]
        ids, days = {key[0] for key in keys}, {key[-1] for key in keys}
        known = connection.execute(
            sa.select(*(served_lists.c[name] for name in _LIST_KEY)).where(
                served_lists.c.list_id.in_(ids) & served_lists.c.day.in_(days)
            )
        )
        there = {tuple(row) for row in known}
        _insert(connection, [wanted[key] for key in keys if key not in there], served_lists)


def _insert(connection: sa.Connection, rows: Sequence[Mapping[str, Any]], table: sa.Table = reccom) -> None:
    for start in range(0, len(rows), ROWS_AN_INSERT):
        connection.execute(sa.insert(table), rows[start : start + ROWS_AN_INSERT])


def known_rows(connection: sa.Connection, rows: Sequence[Row], *selected: sa.Column[Any]) -> Iterator[sa.Row[Any]]:
    """The selected columns of those rows that are in the database. With their days, MySQL reads few partitions."""
    days = {columns(row)["day"] for row in rows}
    for start in range(0, len(rows), IDS_A_QUERY):
        ids = [row.answer_id for row in rows[start : start + IDS_A_QUERY]]
        yield from connection.execute(sa.select(*selected).where(reccom.c.answer_id.in_(ids) & reccom.c.day.in_(days)))


def is_refused(error: sa.exc.DBAPIError) -> bool:
    """Whether MySQL has no such table (1146), or does not allow to read it (1142)."""
    return error_number(error) in (1142, 1146)
