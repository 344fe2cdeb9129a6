"""The database as services, pipeline and operators use it: SQLite in the demo, MySQL in the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from app.provenance.mysql import open_engine
from app.provenance.schema import NEWEST
from app.provenance.tables import columns, journal_marks, reccom, tables, tracking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from app.journal import Row

IDS_A_QUERY = 1000

# The database's own errors, for callers that must not import SQLAlchemy.
DatabaseError = sa.exc.SQLAlchemyError


class SchemaError(DatabaseError):
    """The database's schema is older than this code; the text says what to do."""


class Served(NamedTuple):
    """One answer with the version behind it, as the seeds' query joins them."""

    version_number: int
    user_id: int
    data_creation: datetime | None
    trained_on: datetime | None
    model_rmse: float | None


class Ledger:
    """The database. Every method raises `DatabaseError` where it cannot be reached; nothing is kept in between."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._is_mysql = self._engine.dialect.name == "mysql"

    def create(self) -> None:
        """Make the tables of SQLite that are not there yet. Raises SchemaError where MySQL's are not up to date."""
        if not self._is_mysql:
            tables.create_all(self._engine)
            return
        try:
            with self._engine.connect() as connection:
                newest = connection.execute(sa.text("select max(number) from schema_migrations")).scalar_one()
        except (sa.exc.ProgrammingError, sa.exc.OperationalError) as error:
            if not _is_refused(error):
                raise
            newest = None
        if (newest or 0) < NEWEST:
            raise SchemaError(f"the schema is {newest or 'not there'}, but {NEWEST} is needed: python -m app.migrate")

    def upkeep(self) -> None:
        """Have MySQL make the partitions of the days to come and drop the oldest, by `PROVENANCE_KEEP_DAYS` and `_MAX_GB`."""
        if self._is_mysql:
            with self._engine.begin() as connection:
                connection.execute(sa.text("call upkeep()"))

    def taken(self) -> dict[str, int]:
        """How many bytes of each journal are in the database."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(journal_marks.c.journal, journal_marks.c.bytes_taken))
            return {journal: taken for journal, taken in rows}  # noqa: C416 - rows are no tuples for mypy

    def add_answers(self, journal: str, rows: Sequence[Row], taken: int) -> None:
        """Add the answers that are not there yet, and note that `taken` bytes of `journal` are in: both or none."""
        with self._engine.begin() as connection:
            if rows:
                _insert_new(connection, {row.answer_id: columns(row) for row in rows})
            connection.execute(sa.delete(journal_marks).where(journal_marks.c.journal == journal))
            connection.execute(sa.insert(journal_marks), {"journal": journal, "bytes_taken": taken})

    def forget_journal(self, journal: str) -> None:
        """Drop the mark of a journal that is gone."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(journal_marks).where(journal_marks.c.journal == journal))

    def track(self, version: Mapping[str, Any]) -> None:
        """Put a version's `tracking` row, by the names of its columns; a row that is there already is replaced."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(tracking).where(tracking.c.version_number == version["version_number"]))
            connection.execute(sa.insert(tracking).values(dict(version)))

    def track_new(self, version: Mapping[str, Any]) -> None:
        """Put a version's `tracking` row where there is none yet."""
        with self._engine.begin() as connection:
            there = sa.select(tracking.c.version_number).where(tracking.c.version_number == version["version_number"])
            if connection.execute(there).first() is None:
                connection.execute(sa.insert(tracking).values(dict(version)))

    def count(self) -> int:
        """How many answers there are."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(reccom)).scalar_one()

    def answer_ids(self) -> list[str]:
        """The ids of all answers."""
        with self._engine.connect() as connection:
            return list(connection.execute(sa.select(reccom.c.answer_id)).scalars())

    def served_to(self, user: int) -> list[Served]:
        """Every answer to `user` with its version, oldest first."""
        query = (
            sa.select(
                reccom.c.version_number,
                reccom.c.user_id,
                tracking.c.data_creation,
                tracking.c.trained_on,
                tracking.c.model_rmse,
            )
            .join(tracking, reccom.c.version_number == tracking.c.version_number)
            .where(reccom.c.user_id == user)
            .order_by(reccom.c.answer_id)
        )
        with self._engine.connect() as connection:
            return [Served(*row) for row in connection.execute(query)]

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()


def _insert_new(connection: sa.Connection, rows: Mapping[str, dict[str, Any]]) -> None:
    """Insert the rows, by answer id, that are not there yet. Not by `INSERT IGNORE`, which also cuts what does not fit."""
    try:
        connection.execute(sa.insert(reccom), list(rows.values()))
    except sa.exc.IntegrityError:
        known = _known(connection, rows)
        if new := [row for answer_id, row in rows.items() if answer_id not in known]:
            connection.execute(sa.insert(reccom), new)


def _known(connection: sa.Connection, rows: Mapping[str, dict[str, Any]]) -> set[str]:
    """Those of the answer ids that are there; their days tell MySQL which partitions to look in."""
    ids, days, known = list(rows), {row["day"] for row in rows.values()}, set[str]()
    for start in range(0, len(ids), IDS_A_QUERY):
        wanted = reccom.c.answer_id.in_(ids[start : start + IDS_A_QUERY]) & reccom.c.day.in_(days)
        known.update(connection.execute(sa.select(reccom.c.answer_id).where(wanted)).scalars())
    return known


def _is_refused(error: sa.exc.DBAPIError) -> bool:
    """Whether MySQL has no such table, or does not show it: 1146, 1142."""
    return bool(error.orig is not None and error.orig.args and error.orig.args[0] in (1142, 1146))
