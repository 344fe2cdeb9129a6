"""Intervals that hold the truth in 95 of 100 samples. Pure."""

from __future__ import annotations

from math import sqrt

# The normal distribution's point for 95 %.
Z = 1.959964


def wilson(share: float, count: float) -> tuple[float, float]:
    """The bounds of a share of `count` cases by Wilson's score (1927, "Probable inference"); 0 to 1 where there is no case.

    `count` may be an effective number. Without a hit the lower bound is exactly 0; with only hits the upper bound is exactly 1.
    """
    if not count:
        return 0.0, 1.0
    width = 1 + Z**2 / count
    middle = (share + Z**2 / (2 * count)) / width
    half = Z / width * sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return (max(0.0, middle - half) if share > 0 else 0.0), (min(1.0, middle + half) if share < 1 else 1.0)
