"""Which version served whom: the tables, and the only code that knows the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.journal import Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # the tables hold UTC without saying so
_tables = sa.MetaData()

reccom = sa.Table(
    "reccom",
    _tables,
    sa.Column("answer_id", sa.String(32), primary_key=True),
    sa.Column("request_id", sa.String(64), nullable=False, index=True),
    sa.Column("user_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("version_number", sa.Integer, nullable=False),
    sa.Column("track", sa.String(8), nullable=False),
    sa.Column("served_at", sa.DateTime, nullable=False),
    sa.Column("step", sa.String(16), nullable=False),
    sa.Column("digest", sa.String(16), nullable=False),
)
tracking = sa.Table(
    "tracking",
    _tables,
    sa.Column("version_number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data_creation", sa.DateTime),
    sa.Column("trained_on", sa.DateTime),
    sa.Column("model_rmse", sa.Float),
    sa.Column("git_commit", sa.String(40)),
    sa.Column("data_md5", sa.String(32)),
    sa.Column("model_md5", sa.String(32)),
)
# How far each journal has been taken, in the same database, so that one transaction moves rows and mark together.
journal_marks = sa.Table(
    "journal_marks",
    _tables,
    sa.Column("journal", sa.String(255), primary_key=True),
    sa.Column("bytes_taken", sa.BigInteger, nullable=False),
)

# The database's own errors, for callers that must not import SQLAlchemy.
DatabaseError = sa.exc.SQLAlchemyError


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
        self._engine = sa.create_engine(url, pool_pre_ping=True)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _wait_for_other_writers)

    def create(self) -> None:
        """Make the tables that are not there yet."""
        _tables.create_all(self._engine)

    def taken(self) -> dict[str, int]:
        """How many bytes of each journal are in the database."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(journal_marks.c.journal, journal_marks.c.bytes_taken))
            return {journal: taken for journal, taken in rows}  # noqa: C416 - rows are no tuples for mypy

    def add_answers(self, journal: str, rows: Sequence[Row], taken: int) -> None:
        """Add the answers that are not there yet, and note that `taken` bytes of `journal` are in: both or none."""
        with self._engine.begin() as connection:
            if rows:
                connection.execute(_ignoring_known(reccom), [_columns(row) for row in rows])
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


def _ignoring_known(table: sa.Table) -> sa.Insert:
    return sa.insert(table).prefix_with("OR IGNORE", dialect="sqlite").prefix_with("IGNORE", dialect="mysql")


def _columns(row: Row) -> dict[str, Any]:
    return {**row._asdict(), "served_at": _EPOCH + timedelta(microseconds=row.served_at)}


def _wait_for_other_writers(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=5000")
