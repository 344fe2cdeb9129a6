"""Preferences, 0 to 1: how much a user likes a film, from a rating or from watched minutes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.training.dataset import Watches

    Floats = npt.NDArray[np.float32]

# Up to this share of the highest rating (2 of 5) a film is no like. The rest lie on a line up to 1: 3 of 5 is 0.7, 4 is 0.85.
NO_LIKE = 0.4
GRADE_SLOPE = 0.75
# A film watched to the end is worth a rating of 4 of 5. A film left before this share of its length is not liked.
WATCHED = 0.85
LEFT_EARLY = 0.1
# With this many viewers, a film's length is what a tenth of them exceeds; otherwise the length of all films is used.
LENGTH_QUANTILE = 0.9
FEWEST_WATCHERS = 10
# Rows are done in blocks, because their float64 forms take several times the memory of the rows.
BLOCK_ROWS = 1 << 22


def preferences_of_stars(stars: Floats, scale: tuple[float, float]) -> Floats:
    """The preference of each rating."""
    share = stars / scale[1]
    return np.where(share > NO_LIKE, 1 - GRADE_SLOPE * (1 - share), 0).astype(np.float32)


def preferences_of_watches(watches: Watches) -> Floats:
    """The preference of each row of watches, see `preferences_of_minutes`."""
    found = np.zeros(len(watches), dtype=np.float32)
    length = lengths(watches, 0)
    for start in range(0, len(watches), BLOCK_ROWS):
        block = watches[start : start + BLOCK_ROWS]
        found[start : start + BLOCK_ROWS] = preferences_of_minutes(block.minutes, length[block.film])
    return found


def preferences_of_minutes(minutes: npt.NDArray[np.int32], length: npt.NDArray[np.float64]) -> Floats:
    """The preference by the watched share of a film's length; 0 where the user left early."""
    share = np.minimum(minutes / length, 1)
    return np.where(share > LEFT_EARLY, WATCHED * share, 0).astype(np.float32)


def lengths(watches: Watches, n_films: int) -> npt.NDArray[np.float64]:
    """The length of each film in minutes, estimated from its audience; for at least `n_films` films."""
    if not len(watches):
        return np.zeros(n_films)
    # One number holds film and minutes: it is sorted in place, where an order of rows would take more memory.
    by_film = watches.film.astype(np.int64)
    by_film <<= 32
    by_film |= watches.minutes
    by_film.sort()
    counts = np.bincount(watches.film, minlength=n_films)
    starts = np.cumsum(counts) - counts
    places = np.minimum(starts + (LENGTH_QUANTILE * np.maximum(counts - 1, 0)).astype(np.int64), len(by_film) - 1)
    common = np.quantile(watches.minutes, LENGTH_QUANTILE)
    return np.where(counts >= FEWEST_WATCHERS, by_film[places] & 0xFFFFFFFF, common).astype(np.float64)
