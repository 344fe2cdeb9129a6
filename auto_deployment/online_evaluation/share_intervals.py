"""Shares of answers with their 95 % intervals. Users are the independent units: the answers of one user are alike. Pure.

A share is a ratio of two sums over users. Its variance is the variance of the linearised ratio (Cochran 1977, "Sampling
Techniques", chapter 6; clusters: chapter 9A). Its interval is Wilson's score interval with the effective number of answers.
This interval also holds near 0 (Franco et al. 2019, "Comparative study of confidence intervals for proportions in complex
sample surveys"). A difference within the same answers has a normal interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from auto_deployment.common.intervals import Z, wilson


@dataclass(frozen=True)
class ConfidenceInterval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class RatioSums(NamedTuple):
    """Sums over users: of answers n, of counts h, and of their products. A count is successes, or a difference of two."""

    users: int
    n: float
    h: float
    nn: float
    nh: float
    hh: float

    @property
    def ratio(self) -> float:
        """The count per answer."""
        return self.h / self.n

    @property
    def variance(self) -> float | None:
        """The variance of the ratio. None for fewer than two users."""
        if self.users < 2:
            return None
        squares = self.hh - 2 * self.ratio * self.nh + self.ratio**2 * self.nn
        return max(squares, 0.0) * self.users / (self.users - 1) / self.n**2


def share_interval(sums: RatioSums) -> ConfidenceInterval | None:
    """The share of successes. None without an answer."""
    if not sums.n:
        return None
    value, variance = sums.ratio, sums.variance
    if variance is None:
        return ConfidenceInterval(value, 0.0, 1.0)
    # If all users are alike, their variance is unknown: each user counts as one answer.
    effective = value * (1 - value) / variance if variance > 0 else float(sums.users)
    return ConfidenceInterval(value, *wilson(value, min(effective, sums.n)))


def difference_interval(sums: RatioSums) -> ConfidenceInterval | None:
    """The mean difference within answers. None for fewer than two users."""
    if not sums.n or sums.variance is None:
        return None
    half = Z * sqrt(sums.variance)
    return ConfidenceInterval(sums.ratio, sums.ratio - half, sums.ratio + half)
