"""What telemetry knows of a bake: who got their first answer from which track, and whether they watched it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from auto_deployment.online_evaluation.database import Database
from auto_deployment.online_evaluation.failures import FAILURES, first_line
from auto_deployment.online_evaluation.figures import known_until
from auto_deployment.online_evaluation.judging import Window, prepare
from auto_deployment.online_evaluation.store import KINDS, SCRATCH, Store
from auto_deployment.online_evaluation.watched_counts import BIN_MINUTES, WATCHED_MINUTES, Watched

if TYPE_CHECKING:
    from auto_deployment.common.settings import Settings

# Each user once: where the first answer was matched; a user whose first answer was of neither track is left out.
BINS = """
WITH firsts AS (
  SELECT min(asked.time) AS time, arg_min(coalesce(hit.hit, 0), asked.time) AS hit,
    arg_min(matched.track = 'canary' AND matched.version = {version}, asked.time) AS own,
    arg_min(matched.track = 'stable', asked.time) AS beside
  FROM asked JOIN matched USING (id)
  LEFT JOIN (SELECT id, max(offered::TINYINT) AS hit FROM chosen GROUP BY id) hit USING (id)
  GROUP BY asked.user_id
)
SELECT floor(epoch(time - TIMESTAMP '{began}') / {seconds})::BIGINT AS bin,
  count(*) FILTER (own), coalesce(sum(hit) FILTER (own), 0), count(*) FILTER (beside), coalesce(sum(hit) FILTER (beside), 0)
FROM firsts GROUP BY bin ORDER BY bin
"""


def watched(settings: Settings, version: int, began: float, now: float, known: Watched | None) -> Watched:
    """What telemetry knows now of a bake that began then (seconds since 1970). Without new data the former result is returned.

    What was known does not go with a moment's failure: a canary that is watched less would pass by it.
    """
    store, start, moment = Store(settings.telemetry), _stream_time(began), _stream_time(now)
    try:
        state = _state(store, start)
        if known is not None and known.state == state and not known.problem:
            return known
        counted = _counted(settings, store, version, start, moment, state)
        return replace(known, problem=counted.problem) if known is not None and counted.problem else counted
    except FAILURES as error:
        return replace(known or Watched(), problem=f"telemetry gives nothing new ({first_line(error)})")


def _counted(settings: Settings, store: Store, version: int, start: datetime, now: datetime, state: str) -> Watched:
    with Database(store.folder / SCRATCH) as database:
        until = known_until(database, store, now)
        if until is None or settings.database_url is None:
            return Watched(problem="there is no telemetry" if until is None else "there is no database to know versions by")
        window = Window(WATCHED_MINUTES / 60, until, start)
        prepare(database, store, _days(store, start), window, settings.database_url)
        rows = database.rows(BINS.format(began=start, seconds=BIN_MINUTES * 60, version=version))
    _, *columns = zip(*rows, strict=True) if rows else ((),) * 5
    users, hits, base_users, base_hits = (tuple(map(int, column)) for column in columns)
    return Watched(users, hits, base_users, base_hits, window.last.isoformat(), state)


def _days(store: Store, start: datetime) -> list[str]:
    return [day for day in store.days() if day >= f"{start:%Y-%m-%d}"]


def _state(store: Store, start: datetime) -> str:
    """A checksum of the names of what is kept since a bake began."""
    day = f"{start - timedelta(days=1):%Y-%m-%d}"
    names = [
        str(path) for kind in KINDS for path in sorted((store.folder / kind).glob("*/*.parquet")) if path.parent.name >= day
    ]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _stream_time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
