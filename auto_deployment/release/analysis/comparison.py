"""A candidate compared with a baseline: the tests that share the promise of false alarms, vectorised over releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.special import betainc, ndtr

from auto_deployment.online_evaluation.watched_counts import WATCHED_MINUTES
from auto_deployment.release.analysis.latency import (
    SLOW_INCREASE,
    Times,
    first_slow_edge,
    slow_counts,
    slower_at_worst,
    slower_on_average,
    slower_than,
    squared_variation,
)
from auto_deployment.release.analysis.sequential import more_often

if TYPE_CHECKING:
    from auto_deployment.common.settings import CanarySettings
    from auto_deployment.release.analysis.sequential import Floats

# The promise: a healthy release is aborted at most once in 100. The tests share it (Bonferroni).
FALSE_ALARMS = {"mean": 0.0005, "slowdown": 0.002, "slow answers": 0.005, "errors": 0.0015}
# Reserved for `watched`, even if that measure is switched off.
WATCHED_FALSE_ALARMS = 0.001
# A value above its limit delays a canary only if chance alone would give such a value less often than this.
CHANCE = 0.05
# A new process is slow for its first observations, whatever its version.
SETTLE_OBSERVATIONS = 2


@dataclass(frozen=True)
class Limits:
    """The limits of a canary. `max_mean` and `check_seconds` (between observations) in seconds, the bake in minutes."""

    max_mean: float = 0.5
    max_slowdown: float = 1.2
    max_error_increase: float = 0.005
    min_requests: int = 500
    bake_minutes: float = 720.0
    max_bake_minutes: float = 1440.0
    check_seconds: float = 60.0
    watched: str = "off"
    watched_minutes: float = WATCHED_MINUTES
    min_watched: float = 0.8
    memory: str = "judge"

    @classmethod
    def of(cls, settings: CanarySettings) -> Self:
        """The limits in the settings."""
        return cls(
            settings.canary_max_mean_ms / 1000,
            settings.canary_max_slowdown,
            settings.canary_max_error_increase,
            settings.canary_min_requests,
            settings.canary_bake_minutes,
            settings.canary_max_bake_minutes,
            settings.canary_check_seconds,
            settings.canary_watched,
            memory=settings.canary_memory,
        )


@dataclass(frozen=True)
class Side:
    """The counts of one side per observation: durations of successful answers, tries at the upstream, failed tries."""

    times: Times
    tries: Floats
    failures: Floats


@dataclass(frozen=True)
class Estimate:
    """A value, its threshold, and the size of its sample. Arrays of one value a release.

    `chance`: the probability of a value at least as large if the side is exactly like the baseline.
    """

    value: Floats
    threshold: Floats
    count: Floats
    chance: Floats


def needed(test: str) -> float:
    """The logarithm of the evidence at which a test finds the side worse."""
    return float(-np.log(FALSE_ALARMS[test]))


def compare(side: Side, base: Side, edges: Floats, limits: Limits) -> dict[str, Floats]:
    """The log evidence, by test and after each observation, that `side` is worse than `base` or than the limit of the mean."""
    times, base_times = side.times.since(SETTLE_OBSERVATIONS), base.times.since(SETTLE_OBSERVATIONS)
    minutes = limits.check_seconds / 60
    return {
        "mean": slower_than(times, edges, limits.max_mean, minutes),
        "slowdown": slower_on_average(times, base_times, edges, limits.max_slowdown, minutes),
        "slow answers": slower_at_worst(times, base_times, first_slow_edge(base.times), edges, limits.max_slowdown),
        "errors": more_often(side.failures, side.tries, base.failures, base.tries, limits.max_error_increase),
    }


def estimate(side: Side, base: Side, edges: Floats, limits: Limits) -> dict[str, Estimate]:
    """The value of each test at the last observation; NaN if the divisor is 0.

    The limit of the mean is fixed: no chance excuses a mean above it.
    """
    times, base_times = side.times.since(SETTLE_OBSERVATIONS), base.times.since(SETTLE_OBSERVATIONS)
    count, base_count = times.count.sum(axis=-1), base_times.count.sum(axis=-1)
    tries, failures = side.tries.sum(axis=-1), side.failures.sum(axis=-1)
    base_tries, base_failures = base.tries.sum(axis=-1), base.failures.sum(axis=-1)
    slow, slow_base = slow_counts(times, base_times, first_slow_edge(base.times), edges, limits.max_slowdown)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = side.times.seconds.sum(axis=-1) / side.times.count.sum(axis=-1)
        ratio = (times.seconds.sum(axis=-1) / count) / (base_times.seconds.sum(axis=-1) / base_count)
        more = failures / tries - base_failures / base_tries
        spread = squared_variation(times, edges)[..., -1] / count + squared_variation(base_times, edges)[..., -1] / base_count
        by_chance = ndtr(-np.log(ratio) / np.sqrt(spread))
        slow_share, slow_limit = slow / count, slow_base / base_count + SLOW_INCREASE
    limit, answers = np.full_like(mean, limits.max_mean), np.minimum(count, base_count)
    return {
        "mean": Estimate(mean, limit, side.times.count.sum(axis=-1), np.zeros_like(mean)),
        "slowdown": Estimate(ratio, np.full_like(mean, limits.max_slowdown), answers, by_chance),
        "slow answers": Estimate(slow_share, slow_limit, answers, as_often(slow, count, slow_base, base_count)),
        "errors": Estimate(
            more,
            np.full_like(mean, limits.max_error_increase),
            np.minimum(tries, base_tries),
            as_often(failures, tries, base_failures, base_tries),
        ),
    }


def as_often(bad: Floats, total: Floats, bad_base: Floats, total_base: Floats) -> Floats:
    """The probability of at least `bad` of `total` if the true share equals the baseline's; 1 if `bad` is 0.

    Of all events of both sides each belongs to this side with the probability of its part of the total. So the bound is a
    binomial tail, exact however few the events are.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(total + total_base > 0, total / (total + total_base), 1.0)
    tail = betainc(np.maximum(bad, 1.0), bad_base + 1.0, part)
    return np.asarray(np.where(bad > 0, tail, 1.0), dtype=np.float64)
