"""The database as services, pipeline and operators use it: SQLite in the demo, MySQL in the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from app.provenance.mysql import error_number, open_engine
from app.provenance.schema import NEWEST
from app.provenance.tables import columns, journal_marks, reccom, tables, tracking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from app.journal import Row

IDS_A_QUERY = 1000
ROWS_AN_INSERT = 5000  # 1.3 MB at the most: the driver sends a list as one statement, of whatever length

# The database's own errors, for callers that must not import SQLAlchemy.
DatabaseError = sa.exc.SQLAlchemyError


class SchemaError(DatabaseError):
    """The database's schema is older than this code; the text says what to do."""


class Ledger:
    """The database. Every method raises `DatabaseError` where it cannot be reached; nothing is kept in between."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self._is_mysql = self.engine.dialect.name == "mysql"

    def create(self) -> None:
        """Make the tables of SQLite that are not there yet. Raises SchemaError where MySQL's are not up to date."""
        if not self._is_mysql:
            tables.create_all(self.engine)
            return
        try:
            with self.engine.connect() as connection:
                newest = connection.execute(sa.text("select max(number) from schema_migrations")).scalar_one()
        except sa.exc.DBAPIError as error:
            if not _is_refused(error):
                raise
            newest = None
        if (newest or 0) < NEWEST:
            raise SchemaError(f"the schema is {newest or 'not there'}, but {NEWEST} is needed: python -m app.migrate")

    def upkeep(self) -> None:
        """Have MySQL make the partitions of the days to come and drop the oldest, by `PROVENANCE_KEEP_DAYS` and `_MAX_GB`."""
        if self._is_mysql:
            with self.engine.begin() as connection:
                connection.execute(sa.text("call upkeep()"))

    def taken(self) -> dict[str, int]:
        """How many bytes of each journal are in the database."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(journal_marks.c.journal, journal_marks.c.bytes_taken))
            return {journal: taken for journal, taken in rows}  # noqa: C416 - rows are no tuples for mypy

    def add_answers(self, journal: str, rows: Sequence[Row], taken: int) -> None:
        """Add the answers that are not there yet, and note that `taken` bytes of `journal` are in: both or none."""
        with self.engine.begin() as connection:
            insert_new(connection, rows)
            connection.execute(sa.delete(journal_marks).where(journal_marks.c.journal == journal))
            connection.execute(sa.insert(journal_marks), {"journal": journal, "bytes_taken": taken})

    def forget_journal(self, journal: str) -> None:
        """Drop the mark of a journal that is gone."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(journal_marks).where(journal_marks.c.journal == journal))

    def track(self, version: Mapping[str, Any]) -> None:
        """Put a version's `tracking` row, by the names of its columns; a row that is there already is replaced."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(tracking).where(tracking.c.version_number == version["version_number"]))
            connection.execute(sa.insert(tracking).values(dict(version)))

    def track_new(self, version: Mapping[str, Any]) -> None:
        """Put a version's `tracking` row where there is none yet."""
        with self.engine.begin() as connection:
            there = sa.select(tracking.c.version_number).where(tracking.c.version_number == version["version_number"])
            if connection.execute(there).first() is None:
                connection.execute(sa.insert(tracking).values(dict(version)))

    def count(self) -> int:
        """How many answers there are."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(reccom)).scalar_one()

    def answer_ids(self) -> list[str]:
        """The ids of all answers."""
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(reccom.c.answer_id)).scalars())

    def close(self) -> None:
        """Let go of the connections."""
        self.engine.dispose()


def insert_new(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Insert the rows that are not there yet. Not by `INSERT IGNORE`, which also cuts what does not fit."""
    wanted = {row.answer_id: columns(row) for row in rows}
    try:
        _insert(connection, list(wanted.values()))
    except sa.exc.IntegrityError:
        known = {answer_id for (answer_id,) in known_rows(connection, rows, reccom.c.answer_id)}
        _insert(connection, [row for answer_id, row in wanted.items() if answer_id not in known])


def _insert(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    for start in range(0, len(rows), ROWS_AN_INSERT):
        connection.execute(sa.insert(reccom), rows[start : start + ROWS_AN_INSERT])


def known_rows(connection: sa.Connection, rows: Sequence[Row], *asked: sa.Column[Any]) -> Iterator[sa.Row[Any]]:
    """The columns asked for of those rows that are there; their days tell MySQL which partitions to look in."""
    days = {columns(row)["day"] for row in rows}
    for start in range(0, len(rows), IDS_A_QUERY):
        ids = [row.answer_id for row in rows[start : start + IDS_A_QUERY]]
        yield from connection.execute(sa.select(*asked).where(reccom.c.answer_id.in_(ids) & reccom.c.day.in_(days)))


def _is_refused(error: sa.exc.DBAPIError) -> bool:
    """Whether MySQL has no such table, or does not show it: 1146, 1142."""
    return error_number(error) in (1142, 1146)
