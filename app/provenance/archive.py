"""Queries of operators: answers with the versions that gave them, and all rows for a backup."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import sqlalchemy as sa

from app.provenance.ledger import DatabaseError, Ledger, is_refused
from app.provenance.tables import list_of, reccom, row_of, served_lists, tracking, tracking_row_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from app.journal import Row, ServedList
    from app.provenance.tables import TrackingRow

ROWS_A_READ = 5000
COUNT_SECONDS = 20
DAY_SECONDS = 50  # less than the driver's own limit
MOST_SPANS = 400
ANSWERED_SECONDS = 900

Key: TypeAlias = Literal["answer_id", "request_id", "user_id"]


class Traced(NamedTuple):
    """An answer with the version that gave it. The columns of the version are None if `tracking` has no row for it."""

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


class Given(NamedTuple):
    """An answer: by which version and track, when, and how the list was chosen."""

    version_number: int
    track: str
    step: str
    served_at: datetime


class Served(NamedTuple):
    """How many answers a version gave on a track, and the times of the first and the last answer."""

    track: str
    answers: int
    first: datetime
    last: datetime


class Archive(Ledger):
    """The database for reading. Every method raises `DatabaseError` if the database cannot be reached."""

    def find(self, key: Key, value: str | int, most: int | None = None) -> list[Traced]:
        """The answers with that answer id, request id or user, oldest first; with `most` only so many, the newest ones.

        Answer ids are ordered by time, and every index has them. So MySQL reads no more than `most` answers, if it joins later.
        """
        newest = sa.select(reccom).where(reccom.c[key] == value).order_by(reccom.c.answer_id.desc()).limit(most).subquery()
        selected = [(newest if name in newest.c else tracking).c[name] for name in Traced._fields]
        query = sa.select(*selected).outerjoin_from(newest, tracking, newest.c.version_number == tracking.c.version_number)
        with self.engine.connect() as connection:
            found = [Traced(*row) for row in connection.execute(query)]
        return sorted(found, key=lambda each: (each.served_at, each.answer_id))

    def list_source(self, answer: Traced) -> str:
        """What the list of an answer of step `fresh` was computed from. Empty for other answers, and where it is not kept."""
        kind, _, rest = answer.inputs.partition(":")
        if kind != "fresh":
            return ""
        key = {"list_id": rest.partition(":")[0], "user_id": answer.user_id, "version_number": answer.version_number}
        wanted = sa.and_(*(served_lists.c[name] == value for name, value in key.items()))
        query = sa.select(served_lists.c.source).where(wanted & (served_lists.c.day == answer.served_at.date()))
        try:
            with self.engine.connect() as connection:
                return str(connection.execute(query).scalar() or "")
        except sa.exc.DBAPIError as error:
            if not is_refused(error):
                raise
            return ""  # the schema is older than the table

    def last_users(self, most: int) -> list[int]:
        """The users of the `most` last answers, newest first. Answer ids are ordered by time."""
        query = sa.select(reccom.c.user_id).order_by(reccom.c.answer_id.desc()).limit(most)
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def latest(self, most: int) -> list[Given]:
        """The `most` last answers, newest first. Answer ids are ordered by time."""
        selected = [reccom.c[name] for name in Given._fields]
        query = sa.select(*selected).order_by(reccom.c.answer_id.desc()).limit(most)
        with self.engine.connect() as connection:
            return [Given(*row) for row in connection.execute(query)]

    def served_between(self, first: datetime, last: datetime) -> Iterator[tuple[int, int, str, datetime, str]]:
        """User, version, track, time and digest of each answer served from `first` to before `last`, in UTC, in no order."""
        selected = reccom.c.user_id, reccom.c.version_number, reccom.c.track, reccom.c.served_at, reccom.c.digest
        days = reccom.c.day.between(first.date(), last.date())  # MySQL then reads these partitions only
        query = sa.select(*selected).where(days & (reccom.c.served_at >= first) & (reccom.c.served_at < last))
        with self._streaming() as connection:
            for row in connection.execute(query):
                yield tuple(row)

    def version(self, number: int) -> TrackingRow | None:
        """A version's `tracking` row, or None."""
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(tracking).where(tracking.c.version_number == number)).mappings().first()
            return None if row is None else tracking_row_of(row)

    def served_by(self, number: int) -> list[Served]:
        """What a version served, by track. Reads the whole table, so after 20 s MySQL gives up with a DatabaseError."""
        counted = sa.func.count(), sa.func.min(reccom.c.served_at), sa.func.max(reccom.c.served_at)
        query = sa.select(reccom.c.track, *counted).where(reccom.c.version_number == number).group_by(reccom.c.track)
        bounded = query.prefix_with(f"/*+ MAX_EXECUTION_TIME({COUNT_SECONDS * 1000}) */", dialect="mysql")
        with self.engine.connect() as connection:
            return [Served(*row) for row in connection.execute(bounded.order_by(reccom.c.track))]

    def answered_by(self, versions: AbstractSet[int]) -> set[int]:
        """Those of the versions that gave an answer which is kept. Reads the whole table, a day with each query.

        Answer ids are ordered by time, so the first and the last one have the first and the last day. A wrong clock may have
        put them years apart. A query then reads several days. Raises DatabaseError after
        `ANSWERED_SECONDS`.
        """
        until = time.monotonic() + ANSWERED_SECONDS
        by_time = sa.select(reccom.c.day).limit(1)
        query = sa.select(reccom.c.version_number).distinct()
        bounded = query.prefix_with(f"/*+ MAX_EXECUTION_TIME({DAY_SECONDS * 1000}) */", dialect="mysql")
        found: set[int] = set()
        with self.engine.connect() as connection:
            first = connection.execute(by_time.order_by(reccom.c.answer_id)).scalar()
            last = connection.execute(by_time.order_by(reccom.c.answer_id.desc())).scalar()
            if first is None or last is None:
                return found
            step = 1 + (last - first).days // MOST_SPANS
            starts = [first + timedelta(days=after) for after in range(0, (last - first).days + 1, step)]
            spans = [(reccom.c.day >= start) & (reccom.c.day < start + timedelta(days=step)) for start in starts]
            for span in (reccom.c.day < first, *spans, reccom.c.day >= starts[-1] + timedelta(days=step)):
                if not (sought := versions - found):
                    break
                if time.monotonic() > until:
                    raise DatabaseError(f"the kept answers were not read within {ANSWERED_SECONDS} s")
                found.update(connection.execute(bounded.where(span & reccom.c.version_number.in_(sought))).scalars())
        return found

    def versions(self) -> list[TrackingRow]:
        """All `tracking` rows."""
        with self.engine.connect() as connection:
            return _versions(connection)

    def everything(self) -> Iterator[TrackingRow | Row | ServedList]:
        """All `tracking` rows, then all answers and served lists, as of one moment. No writer has to wait."""
        with self._streaming() as connection:
            connection.exec_driver_sql("BEGIN")
            yield from _versions(connection)
            for row in connection.execute(sa.select(reccom)).mappings():
                yield row_of(dict(row))
            try:
                lists = connection.execute(sa.select(served_lists)).mappings()
            except sa.exc.DBAPIError as error:
                if not is_refused(error):
                    raise
                return  # the schema is older than the table
            for row in lists:
                yield list_of(dict(row))

    @contextmanager
    def _streaming(self) -> Iterator[sa.Connection]:
        """A connection that streams its rows. It is closed for good if the caller leaves before the last row."""
        with self.engine.connect().execution_options(stream_results=True, yield_per=ROWS_A_READ) as connection:
            try:
                yield connection
            except BaseException:
                connection.invalidate()
                raise


def _versions(connection: sa.Connection) -> list[TrackingRow]:
    rows = connection.execute(sa.select(tracking).order_by(tracking.c.version_number)).mappings()
    return [tracking_row_of(row) for row in rows]
