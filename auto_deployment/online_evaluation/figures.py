"""The figures of online evaluation: which share of answers was watched, by version and track, against popularity's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from auto_deployment.online_evaluation import uplift
from auto_deployment.online_evaluation.database import Database
from auto_deployment.online_evaluation.judging import HOURS, SUMS, Judged, Window, judge
from auto_deployment.online_evaluation.shares import Interval, Moments, difference, share
from auto_deployment.online_evaluation.store import KINDS, SCRATCH, TIME

if TYPE_CHECKING:
    from auto_deployment.online_evaluation.popular import Popular
    from auto_deployment.online_evaluation.store import Store

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


# How far each source goes: its latest time but one for each thousand rows, at most ten. By a line that is hours ahead,
# answers that are too young would count as unwatched. A partition that was not read for longer is not waited for.
LATEST = """
SELECT split_part(parse_filename(filename), '~', 1) || '~' AS source, max({time}, 11)[1 + least(count(*) // 1000, 10)]
FROM {rows} GROUP BY source
"""
LATEST_DAYS = 3


@dataclass(frozen=True)
class Group:
    """One version on one track: None for answers of which provenance knows nothing. `above`: watched less popular."""

    version: int | None
    track: str | None
    users: int
    answers: int
    watched: Interval | None
    popular: Interval | None
    above: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {name: each and each.to_dict() for name, each in self._intervals().items()}
        return {"version": self.version, "track": self.track, "users": self.users, "answers": self.answers, **told}

    def _intervals(self) -> dict[str, Interval | None]:
        return {"watched": self.watched, "popular": self.popular, "above": self.above}


@dataclass(frozen=True)
class Figures:
    """All of it. `until`: how far the stream is known; `hours`: within which a film has to be begun."""

    days: tuple[str, ...]
    until: datetime | None
    hours: float
    judged: Judged
    groups: tuple[Group, ...]
    uplift: Interval | None
    shown: int
    unshown: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "days": list(self.days),
            "until": self.until and self.until.isoformat(),
            "hours": self.hours,
            **self.judged._asdict(),
            "groups": [group.to_dict() for group in self.groups],
            "uplift": self.uplift and self.uplift.to_dict(),
            "viewings": {"after_an_answer": self.shown, "without": self.unshown},
        }


def figures(store: Store, popular: Popular, url: str | None, days: int, now: datetime) -> Figures:
    """The figures of the last `days` days of the stream. Raises OSError, `Error` or `DatabaseError`."""
    known = known_days(store, now)[-days:]
    with Database(store.folder / SCRATCH) as database:
        database.run(SUMS)
        database.run(uplift.STRATA)
        until = known_until(database, store, now)
        window = Window(HOURS, until or now)
        counts = []
        for day in known:
            counts.append(judge(database, store, day, window, url, popular))
            uplift.add(database, store, day)
        strata = uplift.summed(database)
        groups = tuple(_group(*row) for row in database.rows(GROUPS.format(keys="version, track")))
    total = Judged(*(sum(column) for column in zip(*counts, strict=True))) if counts else Judged(0, 0, 0, 0, 0)
    return Figures(tuple(known), until, HOURS, total, groups, uplift.uplift(strata), int(strata.shown), int(strata.unshown))


def known_days(store: Store, now: datetime) -> list[str]:
    """The days with answers; a time that is yet to come is damage that no form could tell."""
    return [day for day in store.days() if day <= f"{now + timedelta(days=1):%Y-%m-%d}"]


def known_until(database: Database, store: Store, now: datetime) -> datetime | None:
    """The time up to which the stream was read completely. None if nothing was read.

    That is the latest time in the stream, without a few lines that may be ahead. If a collection left lines of a partition
    unread, that partition is behind the others, and its time counts. Unread lines are not unwatched films.
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


def _group(version: int | None, track: str | None, users: int, *sums: float) -> Group:
    n, h, nn, nh, hh, compared, c, p, cc, cp, pp, d, cd, dd = sums
    popular, above = Moments(int(compared), c, p, cc, cp, pp), Moments(int(compared), c, d, cc, cd, dd)
    return Group(version, track, users, int(n), share(Moments(users, n, h, nn, nh, hh)), share(popular), difference(above))
