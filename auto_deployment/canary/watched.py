"""Whether a canary's lists are watched less than stable's, as one more measure. Pure.

A user counts once, in the track that gave them their first answer of the bake, so that users are independent; NGINX decides by
turns who that is. Worse means that the share of users who began a film of their list soon after falls below a part of
stable's. The evidence is `more_often`, the other way round: stable's successes more often than the canary's by more than the
margin. It may be looked at whenever telemetry has something new, and has its own share of the promised false alarms.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.canary.comparison import WATCHED_FALSE_ALARMS
from auto_deployment.canary.readings import Outcome, Reading
from auto_deployment.canary.sequential import more_often
from auto_deployment.canary.viewers import Watched

if TYPE_CHECKING:
    from auto_deployment.canary.comparison import Limits

NAME = "watched"
# Stable has several successes for one of the canary's, so that what stakes on them is best is smaller than for errors.
STAKES = (0.01, 0.02, 0.04, 0.08, 0.16)
QUERY = (
    "telemetry: first answers of each user since the bake began, joined with reccom, a film of the list begun within {:g} min"
)


def readings(watched: Watched | None, limits: Limits) -> tuple[Reading, ...]:
    """The measure's reading; none where it is switched off."""
    return () if limits.watched == "off" else (_read(watched or Watched(problem="nothing was collected yet"), limits),)


def evidence(watched: Watched, limits: Limits) -> float:
    """The logarithm of the most evidence that there ever was that the canary is watched less, by more than the margin."""
    columns = (watched.base_hits, watched.base_users, watched.hits, watched.users)
    hits, users, own_hits, own_users = (np.array(column, dtype=np.float64) for column in columns)
    return float(more_often(hits, users, own_hits, own_users, 0.0, 1 / limits.min_watched - 1, STAKES).max(initial=0.0))


def _read(watched: Watched, limits: Limits) -> Reading:
    users, base_users = sum(watched.users), sum(watched.base_users)
    hits, base_hits = sum(watched.hits), sum(watched.base_hits)
    sample, log_odds = min(users, base_users), evidence(watched, limits)
    if not hits + base_hits:
        outcome = _thin(limits)
        said = f"watched: {watched.problem or f'nothing yet by {users} and {base_users} users'}"
        return _reading(limits, outcome, said, None, sample, log_odds)
    ratio = (hits / max(users, 1)) / (base_hits / base_users) if base_hits else float("inf")
    said = (
        f"watched by {hits} of {users} users ({hits / max(users, 1):.2%}), by {base_hits} of {base_users} "
        f"({base_hits / max(base_users, 1):.2%}) beside it, limit {limits.min_watched:g} of that"
        + (f"; {watched.problem}" if watched.problem else "")
    )
    if log_odds >= float(-np.log(WATCHED_FALSE_ALARMS)):
        outcome = Outcome.WORSE
    elif sample < limits.min_requests:
        outcome, said = _thin(limits), f"{said}; fewer than {limits.min_requests} users"
    else:
        outcome = Outcome.WITHIN if ratio >= limits.min_watched else Outcome.ABOVE
    return _reading(limits, outcome, said, ratio if base_hits else None, sample, log_odds)


def _thin(limits: Limits) -> Outcome:
    """Too little to know: blocks only where it must be known."""
    return Outcome.TOO_FEW if limits.watched == "require" else Outcome.TOLD


def _reading(limits: Limits, outcome: Outcome, said: str, ratio: float | None, sample: int, log_odds: float) -> Reading:
    query, odds = QUERY.format(limits.watched_minutes), exp(min(log_odds, 700.0))
    needed = 1 / WATCHED_FALSE_ALARMS
    return Reading(NAME, outcome, ratio, limits.min_watched, "ratio", sample, query, said, odds, needed)
