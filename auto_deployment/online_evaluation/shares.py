"""Shares of answers with their intervals, users being the independent ones: the answers of one user are alike. Pure.

A share is a ratio of two sums over users. Its variance is that of the linearised ratio (Cochran 1977, "Sampling Techniques",
chapter 6; clusters: chapter 9A). Its interval is Wilson's score interval with the effective number of answers, which keeps its
promise also near 0 (Franco et al. 2019, "Comparative study of confidence intervals for proportions in complex sample
surveys"). A difference is taken within the same answers, or between two groups that share users, and has a normal interval.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, NamedTuple

from auto_deployment.common.intervals import Z, wilson


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Moments(NamedTuple):
    """Sums over users: of answers n and of what is counted h (successes, or a difference of two), and of their products."""

    users: int
    n: float
    h: float
    nn: float
    nh: float
    hh: float

    @property
    def ratio(self) -> float:
        """What is counted, for each answer."""
        return self.h / self.n

    @property
    def variance(self) -> float | None:
        """Of the ratio; unknown of a single user."""
        if self.users < 2:
            return None
        squares = self.hh - 2 * self.ratio * self.nh + self.ratio**2 * self.nn
        return max(squares, 0.0) * self.users / (self.users - 1) / self.n**2


def share(moments: Moments) -> Interval | None:
    """A share of successes; None of nothing."""
    if not moments.n:
        return None
    value, variance = moments.ratio, moments.variance
    if variance is None:
        return Interval(value, 0.0, 1.0)
    # Where all users are alike nothing is seen of their differences: each counts as one answer.
    effective = value * (1 - value) / variance if variance > 0 else float(moments.users)
    return Interval(value, *wilson(value, min(effective, moments.n)))


def difference(moments: Moments) -> Interval | None:
    """A mean difference within answers; None of fewer than two users."""
    if not moments.n or moments.variance is None:
        return None
    half = Z * sqrt(moments.variance)
    return Interval(moments.ratio, moments.ratio - half, moments.ratio + half)
