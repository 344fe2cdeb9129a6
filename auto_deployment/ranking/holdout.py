"""Splits inside the training data, for choices: each user's latest fifth held out, and a fifth drawn by chance. Pure.

A service has to predict the latest ratings. Many public tables are split by chance, so a random split is a second opinion.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.training.dataset import Ratings

HELD_OUT = 0.2


class Fold(NamedTuple):
    """Feedback to train on, and the ratings that were held out of it."""

    train: Feedback
    held_out: Ratings


def folds(feedback: Feedback, seed: int) -> list[Fold]:
    """The two splits. A user with a single rating keeps it."""
    rows = len(feedback.ratings)
    orders = (feedback.ratings.time, np.random.default_rng(seed).random(rows))
    return [_without(feedback, _last_fifth(feedback.ratings.user, order)) for order in orders]


def _last_fifth(users: npt.NDArray[np.int32], order: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which rows are the last fifth of their user's in an order, at least one where there are two."""
    rows = np.lexsort((order, users))
    counts = np.bincount(users)
    from_end = np.cumsum(counts)[users[rows]] - np.arange(len(rows))
    share = np.maximum(np.rint(HELD_OUT * counts), 1) * (counts > 1)
    held = np.zeros(len(users), dtype=bool)
    held[rows] = from_end <= share[users[rows]]
    return held


def _without(feedback: Feedback, held: npt.NDArray[np.bool_]) -> Fold:
    """The fold; a watch of a held-out pair is held out with it, or the watch would reveal the rating."""
    held_out = feedback.ratings[held]
    kept = ~np.isin(feedback.pairs(feedback.watches), feedback.pairs(held_out))
    return Fold(replace(feedback, ratings=feedback.ratings[~held], watches=feedback.watches[kept]), held_out)
