"""Converts observations to arrays with one value an observation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.release.analysis.comparison import Side
from auto_deployment.release.analysis.latency import Times
from auto_deployment.release.analysis.queries import ERRORS, LEFT, instance_of_name, side_of_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auto_deployment.release.analysis.evidence import Counters, Observation
    from auto_deployment.release.analysis.sequential import Floats


def edges_of(observations: Iterable[Observation]) -> Floats:
    """The histogram's finite edges in seconds, lowest first, from all observations; empty without a histogram."""
    return np.array(sorted({edge_of(key) for key in keys_of(observations, "le ")} - {np.inf}))


def side_of(observations: Sequence[Observation], services: Sequence[str], edges: Floats) -> Side:
    """The sums of `services` in each observation. A try that the client broke off does not count."""
    by_edge: dict[float, list[str]] = {edge: [] for edge in [*edges.tolist(), np.inf]}
    for key in keys_of(observations, "le "):
        by_edge[edge_of(key)].append(key)
    below = np.array([summed_increases(observations, services, *keys) for keys in by_edge.values()])
    tried = keys_of(observations, "try ") - {f"try {left}" for left in LEFT}
    failed = tried & {f"try {error}" for error in ERRORS}
    times = Times(below[-1], summed_increases(observations, services, "seconds"), np.maximum(below[-1] - below[:-1], 0.0))
    return Side(times, summed_increases(observations, services, *tried), summed_increases(observations, services, *failed))


def edge_of(key: str) -> float:
    """The label `le` of a key as a number. Client libraries write "1.0" or "1", and "+Inf"."""
    return float(key.removeprefix("le "))


def keys_of(observations: Iterable[Observation], prefix: str) -> set[str]:
    """The names of counters that begin with `prefix`, in any observation of any service."""
    keys = set[str]().union(*(counters for observation in observations for counters in observation.services.values()))
    return {key for key in keys if key.startswith(prefix)}


def gauge_of(observations: Sequence[Observation], side: str, key: str) -> list[float]:
    """The values of a gauge, from the observations that have a value; of several pods the highest."""
    found = ([counters[key] for counters in _of_sides(each, (side,)) if key in counters] for each in observations)
    return [max(values) for values in found if values]


def summed_increases(observations: Sequence[Observation], sides: Sequence[str], *keys: str) -> Floats:
    """The sum of `keys` over `sides` in each observation."""
    return np.array(
        [
            sum(counters.get(key, 0.0) for counters in _of_sides(observation, sides) for key in keys)
            for observation in observations
        ]
    )


def increases_of(observations: Sequence[Observation], name: str, key: str) -> Floats:
    """The increases of one service's or pod's counter; NaN where there was no such pod."""
    absent = 0.0 if instance_of_name(name) is None else np.nan
    return np.array(
        [each.services[name].get(key, 0.0) if name in each.services else absent for each in observations], dtype=np.float64
    )


def instances_of(observations: Sequence[Observation], side: str, prefix: str) -> list[str]:
    """The names of a side's pods that ever had a counter that begins with `prefix`; the side itself where there is none."""
    found: dict[str, None] = {}
    for observation in observations:
        for name, counters in observation.services.items():
            is_of_side = name not in found and name != side and side_of_name(name) == side
            if is_of_side and any(key.startswith(prefix) for key in counters):
                found[name] = None
    return [*found] or [side]


def _of_sides(observation: Observation, sides: Sequence[str]) -> list[Counters]:
    return [counters for side in sides for name, counters in observation.services.items() if side_of_name(name) == side]
