"""The quality of a version for groups of users: means with intervals, and the largest gap compared with chance. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.ranking.metrics import CERTAINTY, Interval, interval

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Labels = npt.NDArray[np.str_]

FEWEST_USERS = 30
SHUFFLES = 500


@dataclass(frozen=True)
class GroupGap:
    """The largest difference between two groups' means.

    `interval` is the bootstrap interval of this difference. The largest of several differences is large by chance too.
    Random groups of the same sizes have a largest gap below `by_chance` in 95 % of the draws.
    """

    highest: str
    lowest: str
    interval: Interval
    by_chance: float


@dataclass(frozen=True)
class Split:
    """A measure by the groups of one attribute; groups of fewer than `FEWEST_USERS` users are only counted, in `too_small`."""

    groups: dict[str, Interval] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    too_small: dict[str, int] = field(default_factory=dict)
    gap: GroupGap | None = None


def split(values: Floats, labels: Labels, seed: int) -> Split:
    """The mean of users' `values` in each group; a user with an empty label is in no group."""
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    sizes = dict(zip(names.tolist(), counts.tolist(), strict=True))
    large = [name for name, size in sizes.items() if size >= FEWEST_USERS]
    means = {name: interval(values[labels == name], seed) for name in large}
    groups = {name: mean for name, mean in means.items() if mean is not None}
    small = {name: size for name, size in sizes.items() if name not in groups}
    return Split(groups, {name: sizes[name] for name in groups}, small, _gap(values, labels, groups, seed))


def _gap(values: Floats, labels: Labels, groups: dict[str, Interval], seed: int) -> GroupGap | None:
    if len(groups) < 2:
        return None
    highest, lowest = (pick(groups, key=lambda name: groups[name].mean) for pick in (max, min))
    draw = np.random.default_rng(seed)
    ours, theirs = (_bootstrap(values[labels == name], draw) for name in (highest, lowest))
    low, high = np.quantile(ours - theirs, [(1 - CERTAINTY) / 2, (1 + CERTAINTY) / 2])
    mean = groups[highest].mean - groups[lowest].mean
    return GroupGap(highest, lowest, Interval(mean, float(low), float(high)), _by_chance(values, labels, list(groups), draw))


def _bootstrap(values: Floats, draw: np.random.Generator, times: int = 1000) -> Floats:
    return np.array([values[draw.integers(0, len(values), len(values))].mean() for _ in range(times)])


def _by_chance(values: Floats, labels: Labels, groups: list[str], draw: np.random.Generator) -> float:
    kept = np.isin(labels, groups)
    at = np.unique(labels[kept], return_inverse=True)[1]
    sizes, some = np.bincount(at), values[kept]
    gaps = [np.ptp(np.bincount(at, draw.permutation(some)) / sizes) for _ in range(SHUFFLES)]
    return float(np.quantile(gaps, CERTAINTY))
