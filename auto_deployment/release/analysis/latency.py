"""Tests whether answers are slower than a baseline's by more than a margin: in the mean, and among the slowest.

The last axis of all arrays is observations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.release.analysis.drift import Drift
from auto_deployment.release.analysis.sequential import mixed, more_often

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.release.analysis.sequential import Floats

    Indexes = npt.NDArray[np.intp]

# A fixed limit is modelled as a baseline with this many times the answers: an effectively infinite sample.
SURELY_KNOWN = 1e6
# Buckets are wide: durations within one bucket may still differ by a fifth.
LEAST_VARIATION = 0.04
# At most this share of the baseline's answers exceeds the first edge. The tests use the second and third edge beyond it.
SLOW_SHARE = 0.01
SLOW_STEPS = (2, 3)
SLOW_INCREASE = 0.0005
SLOW_STAKES = (0.8, 1.4)
# Instances drift, so the candidate's edge is higher than the baseline's by the margin times this factor at least.
DRIFT_ROOM = 1.15


@dataclass(frozen=True)
class Times:
    """Durations per observation: their number, their sum in seconds, the number above each edge.

    `over` has the shape (edges, then the shape of the others).
    """

    count: Floats
    seconds: Floats
    over: Floats

    def since(self, observation: int) -> Times:
        """The same with zeros in the first observations: a cold start says nothing about a version."""
        late = np.arange(self.count.shape[-1]) >= observation
        return Times(self.count * late, self.seconds * late, self.over * late)


def slower_on_average(times: Times, base: Times, edges: Floats, slowdown: float, observation_minutes: float) -> Floats:
    """Log evidence after each observation that the mean is more than `slowdown` times the baseline's.

    This test is asymptotic, while `more_often` is exact. It needs means of blocks, and assumes the drift of `Drift`.
    """
    spread = squared_variation(times, edges) + squared_variation(base, edges)
    sums = np.stack([times.count, times.seconds, base.count, base.seconds])
    return _drifting(sums, spread / 2, slowdown, observation_minutes)


def slower_than(times: Times, edges: Floats, seconds: float, observation_minutes: float) -> Floats:
    """Log evidence after each observation that the mean is above a fixed number of seconds."""
    certain = times.count * SURELY_KNOWN
    sums = np.stack([times.count, times.seconds, certain, certain * seconds])
    return _drifting(sums, squared_variation(times, edges), 1.0, observation_minutes)


def _drifting(sums: Floats, spread: Floats, margin: float, observation_minutes: float) -> Floats:
    drift = Drift(spread.shape[:-1], margin)
    found = np.empty(spread.shape)
    for at in range(spread.shape[-1]):
        drift.add(sums[..., at], spread[..., at], observation_minutes)
        found[..., at] = drift.evidence()
    return found


def slower_at_worst(times: Times, base: Times, first: Indexes, edges: Floats, slowdown: float) -> Floats:
    """Log evidence after each observation that the slowest answers are slower than the baseline's by more than `slowdown`.

    If every duration were the baseline's times at most `slowdown`, no larger share would exceed an edge than the baseline's
    share above the edge below. These are shares of counts, whatever the distribution. Earlier observations have chosen the
    edges (`first`).
    """
    processes = []
    for step in SLOW_STEPS:
        low, high, usable = edge_pair(first, step, edges, slowdown)
        slow, slow_base = _pick(times.over, high) * usable, _pick(base.over, low) * usable
        processes.append(more_often(slow, times.count * usable, slow_base, base.count, SLOW_INCREASE, 0.0, SLOW_STAKES))
    return mixed(processes)


def slow_counts(times: Times, base: Times, first: Indexes, edges: Floats, slowdown: float) -> tuple[Floats, Floats]:
    """Answers above the first edge of `slower_at_worst` at the last observation, and the baseline's; 0 without an edge."""
    low, high, usable = edge_pair(first[..., -1], SLOW_STEPS[0], edges, slowdown)
    return _pick(times.over.sum(axis=-1), high) * usable, _pick(base.over.sum(axis=-1), low) * usable


def edge_pair(first: Indexes, step: int, edges: Floats, slowdown: float) -> tuple[Indexes, Indexes, npt.NDArray[np.bool_]]:
    """The index of the baseline's edge, `step` beyond `first`; that of the candidate's edge; whether both edges exist."""
    partners = np.searchsorted(edges, edges * slowdown * DRIFT_ROOM * (1 - 1e-9))
    last = len(edges) - 1
    low = np.minimum(np.maximum(first, 0) + step, last)
    usable = (first >= 0) & (first + step <= last) & (partners[low] <= last)
    return low, np.minimum(partners[low], last), usable


def first_slow_edge(base: Times) -> Indexes:
    """The index of the lowest edge that at most SLOW_SHARE of earlier answers exceeded, at each observation; -1 for too few."""
    before = np.cumsum(base.count, axis=-1) - base.count
    over = np.cumsum(base.over, axis=-1) - base.over
    return np.where(before >= 1 / SLOW_SHARE, np.sum(over > SLOW_SHARE * before, axis=0), -1)


def _pick(over: Floats, index: Indexes) -> Floats:
    picked: Floats = np.take_along_axis(over, index[np.newaxis], axis=0)[0]
    return picked


def squared_variation(times: Times, edges: Floats) -> Floats:
    """The squared coefficient of variation of all durations up to each observation, each at the middle of its bucket."""
    middles = np.concatenate([[edges[0] / 2], np.sqrt(edges[:-1] * edges[1:]), [edges[-1] * 1.5]])
    count = np.maximum(np.cumsum(times.count, axis=-1), 1.0)
    over = np.cumsum(times.over, axis=-1) / count
    mean = middles[0] + np.tensordot(np.diff(middles), over, axes=1)
    square = middles[0] ** 2 + np.tensordot(np.diff(middles**2), over, axes=1)
    return np.asarray(np.maximum(square / mean**2 - 1, LEAST_VARIATION))
