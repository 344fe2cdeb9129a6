"""What operators ask of the database: answers with the version behind them, and all of it, to be kept elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import sqlalchemy as sa

from app.provenance.ledger import Ledger
from app.provenance.tables import reccom, row_of, tracking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from app.journal import Row

ROWS_A_READ = 5000
COUNT_SECONDS = 20

Key: TypeAlias = Literal["answer_id", "request_id", "user_id"]


class Traced(NamedTuple):
    """An answer with the version behind it.

    The first five columns are those of the join of `reccom` and `tracking`. Without a `tracking` row the version's are None.
    """

    version_number: int
    user_id: int
    data_creation: datetime | None
    trained_on: datetime | None
    model_rmse: float | None
    answer_id: str
    request_id: str
    track: str
    served_at: datetime
    step: str
    digest: str
    inputs: str
    git_commit: str | None
    data_md5: str | None
    model_md5: str | None


class Served(NamedTuple):
    """How many answers a version gave on a track, and when the first and the last."""

    track: str
    answers: int
    first: datetime
    last: datetime


class Archive(Ledger):
    """The database for reading. Every method raises `DatabaseError` where it cannot be reached."""

    def find(self, key: Key, value: str | int) -> list[Traced]:
        """The answers with that answer id, request id or user, oldest first."""
        asked = [(tracking if name in tracking.c and name not in reccom.c else reccom).c[name] for name in Traced._fields]
        joined = reccom.outerjoin(tracking, reccom.c.version_number == tracking.c.version_number)
        query = sa.select(*asked).select_from(joined).where(reccom.c[key] == value)
        with self.engine.connect() as connection:
            return [Traced(*row) for row in connection.execute(query.order_by(reccom.c.served_at, reccom.c.answer_id))]

    def last_users(self, most: int) -> list[int]:
        """The users of the last answers, at most so many, newest first: answer ids are ordered by time."""
        query = sa.select(reccom.c.user_id).order_by(reccom.c.answer_id.desc()).limit(most)
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def served_between(self, first: datetime, last: datetime) -> Iterator[tuple[int, int, str, datetime, str]]:
        """User, version, track, time and digest of each answer served from `first` to before `last`, in UTC, in no order."""
        asked = reccom.c.user_id, reccom.c.version_number, reccom.c.track, reccom.c.served_at, reccom.c.digest
        days = reccom.c.day.between(first.date(), last.date())  # MySQL looks into these partitions only
        query = sa.select(*asked).where(days & (reccom.c.served_at >= first) & (reccom.c.served_at < last))
        with self._streaming() as connection:
            for row in connection.execute(query):
                yield tuple(row)

    def version(self, number: int) -> dict[str, Any] | None:
        """A version's `tracking` row; None where there is none."""
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(tracking).where(tracking.c.version_number == number)).mappings().first()
            return None if row is None else dict(row)

    def served_by(self, number: int) -> list[Served]:
        """What a version served, by track. Reads the whole table, so MySQL gives up after 20 s: DatabaseError."""
        counted = sa.func.count(), sa.func.min(reccom.c.served_at), sa.func.max(reccom.c.served_at)
        query = sa.select(reccom.c.track, *counted).where(reccom.c.version_number == number).group_by(reccom.c.track)
        bounded = query.prefix_with(f"/*+ MAX_EXECUTION_TIME({COUNT_SECONDS * 1000}) */", dialect="mysql")
        with self.engine.connect() as connection:
            return [Served(*row) for row in connection.execute(bounded.order_by(reccom.c.track))]

    def versions(self) -> list[dict[str, Any]]:
        """All `tracking` rows."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(tracking).order_by(tracking.c.version_number)).mappings()]

    def everything(self) -> Iterator[dict[str, Any] | Row]:
        """All `tracking` rows, then all answers, as of one moment, without a lock that a writer would wait for."""
        with self._streaming() as connection:
            connection.exec_driver_sql("BEGIN")
            for version in connection.execute(sa.select(tracking).order_by(tracking.c.version_number)).mappings():
                yield dict(version)
            for row in connection.execute(sa.select(reccom)).mappings():
                yield row_of(dict(row))

    @contextmanager
    def _streaming(self) -> Iterator[sa.Connection]:
        """A connection whose rows come as they are read. One that is left before its last row is of no more use."""
        with self.engine.connect().execution_options(stream_results=True, yield_per=ROWS_A_READ) as connection:
            try:
                yield connection
            except BaseException:
                connection.invalidate()
                raise
