"""Seeded random numbers, handed out singly."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

BLOCK = 4096

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]


def _one_by_one(draw: Callable[[int], Floats]) -> Iterator[float]:
    while True:
        yield from draw(BLOCK).tolist()


class Draws:
    """Random numbers that a seed and a purpose fix: single ones from blocks, since numpy is slow at one at a time."""

    def __init__(self, seed: int, purpose: int) -> None:
        """Start the numbers of `seed`; another `purpose` gives independent ones."""
        self.rng = np.random.default_rng([seed, purpose])
        self.uniform = _one_by_one(self.rng.random).__next__
        self.normal = _one_by_one(self.rng.standard_normal).__next__

    def below(self, bound: int) -> int:
        """Draw a whole number from 0 to `bound - 1`."""
        return int(self.uniform() * bound)
