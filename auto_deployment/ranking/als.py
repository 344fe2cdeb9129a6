"""Implicit ALS: factors of what is liked (Hu, Koren and Volinsky, ICDM 2008), with a ridge that grows with what is known.

The ridge of a row with n films is `ridge * sqrt(n)`, between none and full scaling (Rendle et al., "Revisiting the performance
of iALS", RecSys 2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy import sparse

    Floats = npt.NDArray[np.float32]

FACTORS = 48
ALPHA = 8.0
SWEEPS = 8
# Films' factors are learnt from so many users at most, spread evenly; every user's own are folded in.
MOST_USERS = 50_000


class ImplicitAls:
    """Scores a film by the product of factors. A user's factors are folded in when asked for; those of films are learnt."""

    def __init__(self, taste: sparse.csr_array, ridge: float, seed: int, factors: int = FACTORS) -> None:
        self._taste = taste
        self._ridge = ridge
        sample = taste
        if taste.shape[0] > MOST_USERS:
            sample = taste[np.linspace(0, taste.shape[0] - 1, MOST_USERS).astype(np.int64)]
        transposed = sample.T.tocsr()
        transposed.sort_indices()
        self.films = np.random.default_rng(seed).normal(0, 0.1 / np.sqrt(factors), (taste.shape[1], factors))
        for _ in range(SWEEPS):
            users = folded_in(sample, self.films, ridge)
            self.films = folded_in(transposed, users, ridge)
        self._square = self.films.T @ self.films

    def scores(self, start: int, stop: int) -> Floats:
        """See `auto_deployment.ranking.scores.Scorer`."""
        users = folded_in(self._taste[start:stop], self.films, self._ridge, self._square)
        return (users @ self.films.T).astype(np.float32)


def folded_in(
    taste: sparse.csr_array,
    others: npt.NDArray[np.float64],
    ridge: float,
    square: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """The factors of each row of `taste`, given those of its columns; a row without an entry has none (all 0).

    `square` is `others.T @ others`, where it is known.
    """
    square = others.T @ others if square is None else square
    found = np.zeros((taste.shape[0], others.shape[1]))
    unit = np.eye(others.shape[1])
    for row in np.flatnonzero(np.diff(taste.indptr)).tolist():
        entries = slice(taste.indptr[row], taste.indptr[row + 1])
        liked = others[taste.indices[entries]]
        extra = ALPHA * taste.data[entries].astype(np.float64)
        matrix = square + (liked * extra[:, None]).T @ liked + ridge * np.sqrt(len(liked)) * unit
        found[row] = np.linalg.solve(matrix, liked.T @ (1 + extra))
    return found
