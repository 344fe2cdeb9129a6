"""A constant seen through instances that drift: a filter over blocks, vectorised over releases.

The log ratio of two means is a constant, plus a drift of the instances' own (an autoregression), plus sampling noise. The
filter gives the score of the constant at the margin and its information. The score is a Brownian motion that is observed now
and then (Jennison and Turnbull 1997, "Group-sequential analysis incorporating covariate information").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.release.analysis.sequential import STAKES, mixed

if TYPE_CHECKING:
    from auto_deployment.release.analysis.sequential import Floats

# Instances differ by themselves, a tenth each (variance 0.02 of the log ratio): for a quarter of an hour, and for a block.
VARIANCE = 0.02
MINUTES = 15.0
FAST_VARIANCE = 0.02
# With fewer answers, the logarithm of their mean is not close to a normal distribution.
BLOCK = 50
# A block counts for at most so many standard deviations: one stalled answer is no slow service.
MOST_DEVIATIONS = 3.0
# The weight, in blocks, of the expected noise against the observed noise.
PRIOR_BLOCKS = 20


class Drift:
    """The filter, with arrays of one value a release. A block has at least BLOCK answers of each side."""

    def __init__(self, shape: tuple[int, ...], margin: float) -> None:
        self._margin = np.log(margin)
        self._open = np.zeros((5, *shape))
        self._variance = np.full(shape, VARIANCE)
        self._drift, self._unit = np.zeros(shape), np.zeros(shape)
        self._score, self._information = np.zeros(shape), np.zeros(shape)
        self._squares, self._blocks = np.zeros(shape), np.zeros(shape)

    def add(self, sums: Floats, spread: Floats, minutes: float) -> None:
        """Add an observation. `sums`: answers, seconds, and the baseline's two; `spread`: squared coefficient of variation."""
        self._open[:4] += sums
        self._open[4] += minutes
        count, seconds, base_count, base_seconds, length = self._open
        closed = (count >= BLOCK) & (base_count >= BLOCK) & (seconds > 0) & (base_seconds > 0)
        if not closed.any():
            return
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(seconds / count) - np.log(base_seconds / base_count) - self._margin
            noise = FAST_VARIANCE + spread * (1 / count + 1 / base_count)
        self._close(closed, np.where(closed, ratio, 0.0), np.where(closed, noise, 1.0), np.exp(-length / MINUTES))
        self._open[:, closed] = 0.0

    def _close(self, closed: np.ndarray, ratio: Floats, noise: Floats, stays: Floats) -> None:
        """One step of the filter for each `closed` block. `stays`: the part of the former drift that remains."""
        variance = stays**2 * self._variance + (1 - stays**2) * VARIANCE
        drift, unit = stays * self._drift, stays * self._unit
        scale = (variance + noise) * np.maximum(1.0, (PRIOR_BLOCKS + self._squares) / (PRIOR_BLOCKS + self._blocks))
        deviation = np.sqrt(scale)
        surprise, weight = np.minimum(ratio - drift, MOST_DEVIATIONS * deviation), 1 - unit
        known = self._information > 0
        effect = np.where(known, self._score / np.where(known, self._information, 1.0), surprise)
        square = np.minimum((surprise - weight * effect) ** 2 / (variance + noise), MOST_DEVIATIONS**2)
        gain = variance / (variance + noise)
        for name, value in (
            ("_score", self._score + weight * surprise / scale),
            ("_information", self._information + weight**2 / scale),
            ("_squares", self._squares + np.where(known, square, 0.0)),
            ("_blocks", self._blocks + known),
            ("_drift", drift + gain * surprise),
            ("_unit", unit + gain * weight),
            ("_variance", (1 - gain) * variance),
        ):
            setattr(self, name, np.where(closed, value, getattr(self, name)))

    def evidence(self) -> Floats:
        """The logarithm of the e-process now: a mixture over STAKES of exponential martingales (Robbins 1970)."""
        return mixed([stake * self._score - stake**2 / 2 * self._information for stake in STAKES])
