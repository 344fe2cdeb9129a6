"""EASE: item-to-item least squares (Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019), graded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

# 8,000 films take 512 MB to invert (float64) and 256 MB to keep (float32), see docs/models.md.
DENSE_FILMS = 8_000
BLOCK_FILMS = 512


class Ease:
    """Scores a film by the liked ones: `taste @ weights`, where each film is explained by the others under a ridge of `ridge`.

    `films` are the rows and columns of `weights`. Films that nobody likes together with another film have no weights. Of the
    other films only the `most` with the most likes take part, which bounds time and memory; ties go to the first film.
    """

    def __init__(self, taste: sparse.csr_array, ridge: float, most: int = DENSE_FILMS) -> None:
        self.films = _shared(taste, most)
        self._taste = taste[:, self.films]
        self._n_films = taste.shape[1]
        self.weights = item_weights(self._taste, ridge)

    def scores(self, start: int, stop: int) -> Floats:
        """See `auto_deployment.ranking.scorers.Scorer`."""
        found = self._taste[start:stop] @ self.weights
        if len(self.films) == self._n_films:
            return np.asarray(found, dtype=np.float32)
        scores = np.zeros((stop - start, self._n_films), dtype=np.float32)
        scores[:, self.films] = found
        return scores

    def strongest(self, count: int) -> tuple[npt.NDArray[np.uint32], Floats]:
        """For each film the `count` films of the largest weights, and these weights: films x count each, 0 in empty places."""
        films = np.zeros((self._n_films, count), dtype=np.uint32)
        weights = np.zeros((self._n_films, count), dtype=np.float32)
        for start in range(0, len(self.weights), BLOCK_FILMS):
            block = self.weights[:, start : start + BLOCK_FILMS].T
            best = np.argsort(-np.abs(block), axis=1, kind="stable")[:, :count]
            rows = self.films[start : start + BLOCK_FILMS]
            films[rows, : best.shape[1]] = self.films[best]
            weights[rows, : best.shape[1]] = np.take_along_axis(block, best, axis=1)
        return films, weights

    def strongest_of_likes(self, count: int) -> tuple[npt.NDArray[np.uint32], Floats]:
        """For each of `films` the `count` films that a like for it says most about, and the weights; films x count each."""
        count = min(count, len(self.films))
        rows = np.empty((len(self.films), count), dtype=np.uint32)
        weights = np.empty((len(self.films), count), dtype=np.float32)
        for start in range(0, len(self.weights), BLOCK_FILMS):
            block = self.weights[start : start + BLOCK_FILMS]
            best = np.argsort(-np.abs(block), axis=1, kind="stable")[:, :count]
            rows[start : start + BLOCK_FILMS] = self.films[best]
            weights[start : start + BLOCK_FILMS] = np.take_along_axis(block, best, axis=1)
        return rows, weights


def _shared(taste: sparse.csr_array, most: int) -> npt.NDArray[np.int64]:
    """The films that are liked together with others, the `most` liked of them, ascending."""
    likes = np.diff(taste.indptr)
    likes_with_others = np.bincount(taste.indices[np.repeat(likes, likes) > 1], minlength=taste.shape[1])
    counts = np.bincount(taste.indices, minlength=taste.shape[1]) * (likes_with_others > 0)
    return np.sort(np.argsort(-counts, kind="stable")[: min(most, np.count_nonzero(likes_with_others))])


def item_weights(taste: sparse.csr_array, ridge: float) -> Floats:
    """EASE's weights, films x films with a diagonal of 0. Each column has the weights that explain its film."""
    if not taste.shape[1]:
        return np.zeros((0, 0), dtype=np.float32)
    inverse = _inverse(_gram(taste, ridge))
    diagonal = inverse.diagonal().copy()
    weights = np.empty(inverse.shape, dtype=np.float32)
    for start in range(0, len(weights), BLOCK_FILMS):
        stop = start + BLOCK_FILMS
        weights[:, start:stop] = inverse[:, start:stop] / -diagonal[start:stop]
    np.fill_diagonal(weights, 0)
    return weights


def _gram(taste: sparse.csr_array, ridge: float) -> npt.NDArray[np.float64]:
    """How much films are liked together, with the ridge on the diagonal. Made in blocks, because the sparse form is large."""
    exact = sparse.csr_array((taste.data.astype(np.float64), taste.indices, taste.indptr), shape=taste.shape)
    gram = np.empty((taste.shape[1],) * 2, order="F")
    transposed = exact.T.tocsr()
    for start in range(0, len(gram), BLOCK_FILMS):
        stop = start + BLOCK_FILMS
        gram[:, start:stop] = (transposed @ exact[:, start:stop]).toarray()
    gram[np.diag_indices_from(gram)] += ridge
    return gram


def _inverse(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inverse of a symmetric, positive matrix, in place."""
    factor, failed = lapack.dpotrf(matrix, lower=True, overwrite_a=True)
    inverse, failed_too = lapack.dpotri(factor, lower=True, overwrite_c=True)
    if failed or failed_too:
        raise ArithmeticError(f"the films' matrix cannot be inverted (LAPACK {failed}, {failed_too}): is the ridge above 0?")
    for start in range(0, len(inverse), BLOCK_FILMS):
        stop = start + BLOCK_FILMS
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        block = inverse[start:stop, start:stop]
        block[:] = np.tril(block) + np.tril(block, -1).T
    return np.asarray(inverse)
