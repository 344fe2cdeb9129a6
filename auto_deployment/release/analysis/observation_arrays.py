"""Converts observations to arrays with one value an observation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.release.analysis.comparison import Side
from auto_deployment.release.analysis.latency import Times
from auto_deployment.release.analysis.queries import ERRORS, LEFT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auto_deployment.release.analysis.evidence import Observation
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
    return {
        key
        for observation in observations
        for counters in observation.services.values()
        for key in counters
        if key.startswith(prefix)
    }


def gauge_of(observations: Sequence[Observation], service: str, key: str) -> list[float]:
    """The values of a gauge, from the observations that have a value."""
    return [observation.services[service][key] for observation in observations if key in observation.services.get(service, {})]


def summed_increases(observations: Sequence[Observation], services: Sequence[str], *keys: str) -> Floats:
    """The sum of `keys` over `services` in each observation."""
    return np.array(
        [
            sum(observation.services.get(name, {}).get(key, 0.0) for name in services for key in keys)
            for observation in observations
        ]
    )
