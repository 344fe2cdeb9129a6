"""How good the chosen ranking is for users of whom little is known: histories cut to so many films. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.ranking.diverse_popular import varied
from auto_deployment.ranking.factory import RankerFactory
from auto_deployment.ranking.metrics import PerUser, lists_of, per_user

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.model_selection import Choice
    from auto_deployment.training.dataset import Ratings
    from auto_deployment.training.rating_model import Trainer

HISTORIES = (0, 1, 2, 5)


def cut(feedback: Feedback, users: npt.NDArray[np.bool_], most: int, seed: int) -> Feedback:
    """The feedback with at most so many ratings, drawn by chance, of each of `users` (a mask), and none of their watches."""
    ratings = feedback.ratings
    order = np.lexsort((np.random.default_rng(seed).random(len(ratings)), ratings.user))
    counts = np.bincount(ratings.user, minlength=feedback.shape[0])
    place = np.empty(len(ratings), dtype=np.int64)
    place[order] = np.arange(len(ratings)) - (np.cumsum(counts) - counts)[ratings.user[order]]
    watches = feedback.watches[~users[feedback.watches.user]]
    return replace(feedback, ratings=ratings[~users[ratings.user] | (place < most)], watches=watches)


def step(train: Feedback, test: Ratings, choice: Choice, trainer: Trainer, most: int, seed: int) -> tuple[PerUser, PerUser]:
    """The figures of what users with `most` films get, and popularity's; a drawn half of the users is cut at a time.

    The others are whole, so that what is learnt about films is as good as it is in service. Who has none gets the list for
    users who are not in the data, others the chosen ranker's.
    """
    relevant, found = test[test.stars >= train.liked_from], []
    half = np.random.default_rng(seed).random(train.shape[0]) < 0.5
    for cold in (half, ~half):
        left = cut(train, cold, most, seed)
        factory, seen, users = RankerFactory(left, trainer, seed), left.seen(), np.flatnonzero(cold).astype(np.int32)
        popularity = factory.popularity(choice.tuning.half_life)
        plain = lists_of(popularity, users, seen)
        if most:
            lists = lists_of(factory.make(choice.ranker, choice.tuning), users, seen)
        else:
            lists = np.tile(varied(popularity.scores, left, plain.shape[1]), (len(users), 1))
        found.append([per_user(users, rows, relevant) for rows in (lists, plain)])
    ours, popular = (PerUser(*map(np.concatenate, zip(*halves, strict=True))) for halves in zip(*found, strict=True))
    return ours, popular
