"""Looks -> arrays, one value a look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.release.analysis.comparison import Side
from auto_deployment.release.analysis.latency import Times
from auto_deployment.release.analysis.queries import ERRORS, LEFT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auto_deployment.release.analysis.evidence import Look
    from auto_deployment.release.analysis.sequential import Floats


def edges_of(looks: Iterable[Look]) -> Floats:
    """The histogram's finite edges in seconds, lowest first, as any look shows them; empty where none does."""
    return np.array(sorted({edge_of(key) for key in keys_of(looks, "le ")} - {np.inf}))


def side_of(looks: Sequence[Look], services: Sequence[str], edges: Floats) -> Side:
    """What `services` did together in each look. A try that the client broke off is none."""
    by_edge: dict[float, list[str]] = {edge: [] for edge in [*edges.tolist(), np.inf]}
    for key in keys_of(looks, "le "):
        by_edge[edge_of(key)].append(key)
    below = np.array([risen(looks, services, *keys) for keys in by_edge.values()])
    tried = keys_of(looks, "try ") - {f"try {left}" for left in LEFT}
    failed = tried & {f"try {error}" for error in ERRORS}
    times = Times(below[-1], risen(looks, services, "seconds"), np.maximum(below[-1] - below[:-1], 0.0))
    return Side(times, risen(looks, services, *tried), risen(looks, services, *failed))


def edge_of(key: str) -> float:
    """`le` as a number: clients spell it "1.0" or "1", and "+Inf"."""
    return float(key.removeprefix("le "))


def keys_of(looks: Iterable[Look], prefix: str) -> set[str]:
    """The counters' names of this form, in any look of any service."""
    return {key for look in looks for counters in look.services.values() for key in counters if key.startswith(prefix)}


def gauge_of(looks: Sequence[Look], service: str, key: str) -> list[float]:
    """A gauge's values, of the looks that have one."""
    return [look.services[service][key] for look in looks if key in look.services.get(service, {})]


def risen(looks: Sequence[Look], services: Sequence[str], *keys: str) -> Floats:
    """The sum of `keys` over `services` in each look."""
    return np.array([sum(look.services.get(name, {}).get(key, 0.0) for name in services for key in keys) for look in looks])
