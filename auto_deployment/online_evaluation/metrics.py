"""The metrics of online evaluation: the share of watched answers by version and track, compared with the popular list."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel

from auto_deployment.common.database import Database
from auto_deployment.online_evaluation import uplift
from auto_deployment.online_evaluation.attribution import HOURS, SUMS, AnswerCounts, AttributionWindow, attribute_day
from auto_deployment.online_evaluation.parquet_store import KINDS, SCRATCH, TIME
from auto_deployment.online_evaluation.share_intervals import ConfidenceInterval, RatioSums, difference_interval, share_interval

if TYPE_CHECKING:
    from auto_deployment.online_evaluation.parquet_store import ParquetStore
    from auto_deployment.online_evaluation.popular import Popular

GROUPS = """
WITH users AS (
  SELECT user_id, {keys}, sum(answers)::DOUBLE AS n, sum(hits)::DOUBLE AS h,
    sum(compared)::DOUBLE AS c, sum(compared_hits)::DOUBLE AS g, sum(popular)::DOUBLE AS p
  FROM sums GROUP BY ALL
)
SELECT {keys}, count(*), sum(n), sum(h), sum(n * n), sum(n * h), sum(h * h),
  count(*) FILTER (c > 0),
  sum(c), sum(p), sum(c * c), sum(c * p), sum(p * p), sum(g - p), sum(c * (g - p)), sum((g - p) * (g - p))
FROM users GROUP BY ALL ORDER BY ALL
"""


# The end of each source: its latest time, without one time for each thousand rows, at most ten. Otherwise a line that is
# hours ahead makes young answers count as unwatched. A partition that was not read for longer does not count.
LATEST = """
SELECT split_part(parse_filename(filename), '~', 1) || '~' AS source, max({time}, 11)[1 + least(count(*) // 1000, 10)]
FROM {rows} GROUP BY source
"""
LATEST_DAYS = 3


class TrackMetrics(BaseModel, frozen=True):
    """The metrics of one version on one track. Both are None for answers without a row in provenance.

    `popular` is the share of the popular list. `above` is `watched` less `popular`, over the answers that can be compared.
    """

    version: int | None
    track: str | None
    users: int
    answers: int
    watched: ConfidenceInterval | None
    popular: ConfidenceInterval | None
    above: ConfidenceInterval | None


class Viewings(BaseModel, frozen=True):
    """The films that users began just after an answer, and without one."""

    after_an_answer: int
    without: int


class OnlineMetrics(BaseModel, frozen=True):
    """The metrics of the last days of the stream, as the command and the version's report have them.

    `until` is the time up to which the stream is known. A watched film begins within `hours` after the answer. The counts
    from `requests` to `matched` are those of `AnswerCounts`.
    """

    days: tuple[str, ...]
    until: datetime | None
    hours: float
    requests: int
    failed: int
    young: int
    judged: int
    matched: int
    groups: tuple[TrackMetrics, ...]
    uplift: ConfidenceInterval | None
    viewings: Viewings


def compute_metrics(store: ParquetStore, popular: Popular, url: str | None, days: int, now: datetime) -> OnlineMetrics:
    """The metrics of the last `days` days of the stream. Raises OSError, `Error` or `DatabaseError`."""
    known = known_days(store, now)[-days:]
    with Database(store.folder / SCRATCH) as database:
        database.run(SUMS)
        database.run(uplift.STRATA)
        until = known_until(database, store, now)
        window = AttributionWindow(HOURS, until or now)
        counts = [AnswerCounts(0, 0, 0, 0, 0)]
        for day in known:
            counts.append(attribute_day(database, store, day, window, url, popular))
            uplift.add(database, store, day)
        strata = uplift.summed(database)
        groups = tuple(_track_metrics(*row) for row in database.rows(GROUPS.format(keys="version, track")))
    total = AnswerCounts(*(sum(column) for column in zip(*counts, strict=True)))
    return OnlineMetrics(
        days=tuple(known),
        until=until,
        hours=HOURS,
        **total._asdict(),
        groups=groups,
        uplift=uplift.uplift(strata),
        viewings=Viewings(after_an_answer=int(strata.shown), without=int(strata.unshown)),
    )


def known_days(store: ParquetStore, now: datetime) -> list[str]:
    """The days with answers. A day in the future comes from a damaged time, and is left out."""
    return [day for day in store.days() if day <= f"{now + timedelta(days=1):%Y-%m-%d}"]


def known_until(database: Database, store: ParquetStore, now: datetime) -> datetime | None:
    """The time up to which the stream was read completely. None if nothing was read.

    The result is the latest time in the stream, without a few lines that may be ahead. If a collection left lines of a
    partition unread, that partition is behind the others, and its time counts. Unread lines are not unwatched films.
    """
    tomorrow = f"{now + timedelta(days=1):%Y-%m-%d}"
    times = dict[str, datetime]()
    for kind in KINDS:
        days = [day for day in store.days(kind) if day <= tomorrow][-LATEST_DAYS:]
        for source, time in database.rows(LATEST.format(time=TIME[kind], rows=store.relation(kind, days, named=True))):
            times[source] = max(time, times.get(source, time))
    latest = max(times.values(), default=None)
    behind = [times[source] for source in store.unread() if source in times]
    return min([latest, *behind]) if latest is not None else None


def _track_metrics(version: int | None, track: str | None, users: int, *sums: float) -> TrackMetrics:
    n, h, nn, nh, hh, compared, c, p, cc, cp, pp, d, cd, dd = sums
    return TrackMetrics(
        version=version,
        track=track,
        users=users,
        answers=int(n),
        watched=share_interval(RatioSums(users, n, h, nn, nh, hh)),
        popular=share_interval(RatioSums(int(compared), c, p, cc, cp, pp)),
        above=difference_interval(RatioSums(int(compared), c, d, cc, cd, dd)),
    )
