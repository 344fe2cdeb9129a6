"""Whether a canary's lists are watched less than stable's, as one more measure. Pure.

A user counts once, in the track of their first answer in the bake, so that users are independent. NGINX chooses that track by
turns. Worse means that the share of users who began a film of their list soon after falls below a part of stable's. The
evidence is `more_often`, the other way round: stable's successes more often than the canary's by more than the margin. It may
be looked at whenever telemetry has something new, and has its own share of the promised false alarms.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.online_evaluation.watched_counts import WatchedCounts
from auto_deployment.release.analysis.comparison import CHANCE, WATCHED_FALSE_ALARMS, as_often
from auto_deployment.release.analysis.readings import Outcome
from auto_deployment.release.analysis.sequential import more_often

if TYPE_CHECKING:
    from auto_deployment.release.analysis.bake_view import Bake
    from auto_deployment.release.analysis.comparison import Limits
    from auto_deployment.release.analysis.readings import Measure, Reading

NAME = "watched"
# Stable has several successes for one of the canary's. So the best stakes are smaller than for errors.
STAKES = (0.01, 0.02, 0.04, 0.08, 0.16)
QUERY = (
    "telemetry: first answers of each user since the bake began, joined with reccom, a film of the list begun within {:g} min"
)


def evidence(watched: WatchedCounts, limits: Limits) -> float:
    """The logarithm of the highest evidence so far that the canary is watched less than stable by more than the margin."""
    columns = (watched.base_hits, watched.base_users, watched.hits, watched.users)
    hits, users, own_hits, own_users = (np.array(column, dtype=np.float64) for column in columns)
    return float(more_often(hits, users, own_hits, own_users, 0.0, 1 / limits.min_watched - 1, STAKES).max(initial=0.0))


def query(bake: Bake) -> str:
    """A description of the count: telemetry has no series in Prometheus."""
    return QUERY.format(bake.limits.watched_minutes)


def read(measure: Measure, watched: WatchedCounts | None, limits: Limits) -> Reading:
    """The measure's reading."""
    watched = watched or WatchedCounts(problem="nothing was collected yet")
    users, base_users = sum(watched.users), sum(watched.base_users)
    hits, base_hits = sum(watched.hits), sum(watched.base_hits)
    sample, log_odds = min(users, base_users), evidence(watched, limits)
    known = {
        "threshold": limits.min_watched,
        "sample": sample,
        "evidence": exp(min(log_odds, 700.0)),
        "needed": 1 / WATCHED_FALSE_ALARMS,
    }
    if not hits + base_hits:
        message = f"watched: {watched.problem or f'nothing yet by {users} and {base_users} users'}"
        return measure.reading(Outcome.TOO_FEW, message, **known)
    ratio = (hits / max(users, 1)) / (base_hits / base_users) if base_hits else float("inf")
    message = (
        f"watched by {hits} of {users} users ({hits / max(users, 1):.2%}), by {base_hits} of {base_users} "
        f"({base_hits / max(base_users, 1):.2%}) in stable, limit {limits.min_watched:g} of that"
        + (f"; {watched.problem}" if watched.problem else "")
    )
    if log_odds >= float(-np.log(WATCHED_FALSE_ALARMS)):
        outcome = Outcome.WORSE
    elif sample < limits.min_requests:
        outcome, message = Outcome.TOO_FEW, f"{message}; fewer than {limits.min_requests} users"
    else:
        outcome = Outcome.WITHIN if ratio >= limits.min_watched or _by_chance(watched) else Outcome.ABOVE
    return measure.reading(outcome, message, ratio if base_hits else None, **known)


def _by_chance(watched: WatchedCounts) -> bool:
    """Whether chance alone explains that the baseline's users watch more often."""
    columns = (watched.base_hits, watched.base_users, watched.hits, watched.users)
    return bool(as_often(*(np.asarray(float(sum(column))) for column in columns)) >= CHANCE)
