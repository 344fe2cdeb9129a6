"""Implicit ALS: factors of liked films (Hu, Koren and Volinsky, ICDM 2008), with a ridge that grows with the number of likes.

The ridge of a row with n films is `ridge * sqrt(n)`, between none and full scaling (Rendle et al., "Revisiting the performance
of iALS", RecSys 2022). A row with fewer films than there are factors is solved in its dual form, a system of its films.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy import sparse

    Floats = npt.NDArray[np.float64]

FACTORS = 48
ALPHA = 8.0
SWEEPS = 8
# At most this many users, spread evenly, teach the films' factors; every user's own factors are folded in.
MOST_USERS = 50_000
# Rows of the same length are solved together, at most this many numbers of their matrices at a time.
BATCH = 1 << 22


class ImplicitAls:
    """Scores a film by the product of factors. Films' factors are learnt; a user's factors are folded in at each call."""

    def __init__(self, taste: sparse.csr_array, ridge: float, seed: int, factors: int = FACTORS) -> None:
        self._taste = taste
        self._ridge = ridge
        sample = taste
        if taste.shape[0] > MOST_USERS:
            sample = taste[np.linspace(0, taste.shape[0] - 1, MOST_USERS).astype(np.int64)]
        transposed = sample.T.tocsr()
        transposed.sort_indices()
        films = np.random.default_rng(seed).normal(0, 0.1 / np.sqrt(factors), (taste.shape[1], factors))
        for _ in range(SWEEPS):
            users = folded_in(sample, Side.of(films), ridge)
            films = folded_in(transposed, Side.of(users), ridge)
        self.side = Side.of(films)

    def scores(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """See `auto_deployment.ranking.scorers.Scorer`."""
        users = folded_in(self._taste[start:stop], self.side, self._ridge)
        return (users @ self.side.factors.T).astype(np.float32)

    def weighing_factors(self, likes: int) -> Floats:
        """Films x factors. Products of two films' factors, times `1 + ALPHA`, are the item weights of users with so many likes.

        They leave out what folding in adds for the user's own films, which hardly changes a list's order.
        """
        return np.asarray(self.side.factors / np.sqrt(self.side.squares + self._ridge * np.sqrt(likes)))


class Side(NamedTuple):
    """The factors of one side (rows x factors) turned so that their square, `factors.T @ factors`, is diagonal: `squares`.

    The other side's factors are solved in the same turned space, so products of both sides stay the same.
    """

    factors: Floats
    squares: Floats

    @staticmethod
    def of(factors: Floats) -> Side:
        """A side from factors in any space."""
        squares, turn = np.linalg.eigh(factors.T @ factors)
        return Side(factors @ turn, squares.clip(0))


def folded_in(taste: sparse.csr_array, side: Side, ridge: float) -> Floats:
    """The factors of each row of `taste`, given those of its columns; a row without an entry has none (all 0)."""
    found = np.zeros((taste.shape[0], side.factors.shape[1]))
    lengths = np.diff(taste.indptr)
    for length in np.unique(lengths[lengths > 0]).tolist():
        rows = np.flatnonzero(lengths == length)
        at_once = max(BATCH // (length * max(length, found.shape[1])), 1)
        for some in np.split(rows, range(at_once, len(rows), at_once)):
            places = taste.indptr[some][:, None] + np.arange(length)
            liked, extra = side.factors[taste.indices[places]], ALPHA * taste.data[places].astype(np.float64)
            solve = _dual if length < found.shape[1] else _primal
            found[some] = solve(liked, extra, side.squares + ridge * np.sqrt(length))
    return found


def _primal(liked: Floats, extra: Floats, diagonal: Floats) -> Floats:
    """Rows x factors, by a system of the factors: `liked` is rows x films x factors, `extra` rows x films."""
    across = liked.transpose(0, 2, 1)
    matrix = (across * extra[:, None, :]) @ liked
    matrix[:, np.arange(len(diagonal)), np.arange(len(diagonal))] += diagonal
    return _solved(matrix, (across @ (1 + extra)[:, :, None])[:, :, 0])


def _dual(liked: Floats, extra: Floats, diagonal: Floats) -> Floats:
    """Rows x factors, by a system of the films, see `film_weights`."""
    weights = film_weights(liked, extra, diagonal)
    return (weights[:, None, :] @ liked)[:, 0] / diagonal


def film_weights(liked: Floats, extra: Floats, diagonal: Floats) -> Floats:
    """Rows x films: the liked films' weights. A row's factors are the weighted sum of the films' factors over `diagonal`."""
    matrix = (liked / diagonal) @ liked.transpose(0, 2, 1)
    matrix[:, np.arange(liked.shape[1]), np.arange(liked.shape[1])] += 1 / extra
    return _solved(matrix, 1 / extra + 1)


def _solved(matrices: Floats, right: Floats) -> Floats:
    return np.asarray(np.linalg.solve(matrices, right[:, :, None])[:, :, 0], dtype=np.float64)
