"""The watched answers of a bake: users by the track of their first answer, and whether they watched a film of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from auto_deployment.common.database import Database
from auto_deployment.common.errors import first_line
from auto_deployment.online_evaluation.attribution import AttributionWindow, prepare
from auto_deployment.online_evaluation.metrics import known_until
from auto_deployment.online_evaluation.parquet_store import FAILURES, KINDS, SCRATCH, ParquetStore
from auto_deployment.online_evaluation.watched_counts import BIN_MINUTES, WATCHED_MINUTES, WatchedCounts

if TYPE_CHECKING:
    from auto_deployment.common.settings import Settings

# Each user counts once, on the track of the first answer. Users without a match in provenance are left out.
BINS = """
WITH firsts AS (
  SELECT min(answered.time) AS time, arg_min(coalesce(hit.hit, 0), answered.time) AS hit,
    arg_min(matched.track = 'canary' AND matched.version = {version}, answered.time) AS canary,
    arg_min(matched.track = 'stable', answered.time) AS stable
  FROM answered JOIN matched USING (id)
  LEFT JOIN (SELECT id, max(offered::TINYINT) AS hit FROM begun_after GROUP BY id) hit USING (id)
  GROUP BY answered.user_id
)
SELECT floor(epoch(time - TIMESTAMP '{began}') / {seconds})::BIGINT AS bin,
  count(*) FILTER (canary), coalesce(sum(hit) FILTER (canary), 0),
  count(*) FILTER (stable), coalesce(sum(hit) FILTER (stable), 0)
FROM firsts GROUP BY bin ORDER BY bin
"""


def watched_counts(settings: Settings, version: int, began: float, now: float, known: WatchedCounts | None) -> WatchedCounts:
    """The counts of a bake of `version` since `began`, at the time `now` (both in seconds since 1970).

    Without new data the result is `known`, the counts so far. A failure also keeps `known`, with its `problem`: otherwise a
    canary that users watch less would pass when the database is away for a moment.
    """
    store, start, moment = ParquetStore(settings.telemetry), _stream_time(began), _stream_time(now)
    try:
        state = _state(store, start)
        if known is not None and known.state == state and not known.problem:
            return known
        counts = _count(settings, store, version, start, moment, state)
        return replace(known, problem=counts.problem) if known is not None and counts.problem else counts
    except FAILURES as error:
        return replace(known or WatchedCounts(), problem=f"telemetry gives nothing new ({first_line(error)})")


def _count(settings: Settings, store: ParquetStore, version: int, start: datetime, now: datetime, state: str) -> WatchedCounts:
    with Database(store.folder / SCRATCH) as database:
        until = known_until(database, store, now)
        if until is None:
            return WatchedCounts(problem="there is no telemetry")
        if settings.database_url is None:
            return WatchedCounts(problem="there is no database that knows the versions")
        window = AttributionWindow(WATCHED_MINUTES / 60, until, start)
        prepare(database, store, _days(store, start), window, settings.database_url)
        rows = database.rows(BINS.format(began=start, seconds=BIN_MINUTES * 60, version=version))
    _, *columns = zip(*rows, strict=True) if rows else ((),) * 5
    users, hits, base_users, base_hits = (tuple(map(int, column)) for column in columns)
    return WatchedCounts(
        users=users,
        hits=hits,
        base_users=base_users,
        base_hits=base_hits,
        until=window.last.isoformat(),
        state=state,
    )


def _days(store: ParquetStore, start: datetime) -> list[str]:
    return [day for day in store.days() if day >= f"{start:%Y-%m-%d}"]


def _state(store: ParquetStore, start: datetime) -> str:
    """A checksum of the names of the files since a bake began. New data change it."""
    day = f"{start - timedelta(days=1):%Y-%m-%d}"
    names = [
        str(path) for kind in KINDS for path in sorted((store.folder / kind).glob("*/*.parquet")) if path.parent.name >= day
    ]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _stream_time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
