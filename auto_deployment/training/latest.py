"""Each user's latest films, of a table that is too large to train on whole. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.training.dataset import Ratings, Watches

    Mask = npt.NDArray[np.bool_]


def latest_rows(ratings: Ratings, watches: Watches, most: int) -> tuple[Mask, Mask]:
    """The rows of ratings and of watches that belong to the `most` films that each user rated or watched last.

    A film's time is the later one of rating and last watch. Of equal times the first film in the order of films is taken.
    A taken film keeps both its rating and its watch.
    """
    columns = (np.concatenate([getattr(ratings, name), getattr(watches, name)]) for name in ("user", "film", "time"))
    users, films, times = columns
    n_films = int(films.max(initial=0)) + 1
    pairs = users.astype(np.int64) * n_films + films
    # Rows that come sorted by user and film, as those of a slice do, are two sorted runs: a stable sort merges them fast.
    order = np.argsort(pairs, kind="stable")
    pairs = pairs[order]
    is_first = np.append(np.ones(1, dtype=bool), pairs[1:] != pairs[:-1])[: len(pairs)]
    starts = np.flatnonzero(is_first)
    latest = np.maximum.reduceat(times[order], starts)
    taken = np.empty(len(pairs), dtype=bool)
    taken[order] = _first_of_each(pairs[starts] // n_films, -latest, most)[np.cumsum(is_first) - 1]
    return taken[: len(ratings)], taken[len(ratings) :]


def _first_of_each(users: npt.NDArray[np.int64], keys: npt.NDArray[np.int64], most: int) -> Mask:
    """Which rows are among the `most` rows of their user with the lowest keys; of equal keys the first row. `users` ascend."""
    if not len(users):
        return np.zeros(0, dtype=bool)
    user, key = users - users[0], keys - keys.min()
    span = int(key.max()) + 1
    # One number for user and key is sorted in a ninth of the time, where it fits.
    fits = (int(user[-1]) + 1) * span < 2**63
    order = np.argsort(user * span + key, kind="stable") if fits else np.lexsort((key, user))
    taken = np.empty(len(users), dtype=bool)
    taken[order] = np.arange(len(users)) - np.searchsorted(users, users) < most
    return taken
