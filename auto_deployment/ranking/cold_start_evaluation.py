"""Metrics of the chosen ranker for users with short histories: a user's ratings are cut to a few films. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.ranking.diverse_popular import diverse_popular
from auto_deployment.ranking.metrics import UserMetrics, lists_of, user_metrics
from auto_deployment.ranking.ranker_factory import RankerFactory

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.model_selection import Choice
    from auto_deployment.training.dataset import Ratings
    from auto_deployment.training.rating_model import Trainer

HISTORIES = (0, 1, 2, 5)


def with_short_histories(feedback: Feedback, users: npt.NDArray[np.bool_], most: int, seed: int) -> Feedback:
    """The feedback with at most `most` random ratings of each of `users` (a mask), and none of their watches."""
    ratings = feedback.ratings
    order = np.lexsort((np.random.default_rng(seed).random(len(ratings)), ratings.user))
    counts = np.bincount(ratings.user, minlength=feedback.shape[0])
    place = np.empty(len(ratings), dtype=np.int64)
    place[order] = np.arange(len(ratings)) - (np.cumsum(counts) - counts)[ratings.user[order]]
    watches = feedback.watches[~users[feedback.watches.user]]
    return replace(feedback, ratings=ratings[~users[ratings.user] | (place < most)], watches=watches)


def evaluate_cold_start(
    train: Feedback, test: Ratings, choice: Choice, trainer: Trainer, most: int, seed: int
) -> tuple[UserMetrics, UserMetrics]:
    """The metrics of the chosen ranker and of popularity for users with `most` films. A random half of users is cut at a time.

    The other half keeps its histories, so that the rankers learn about films as well as in service. With `most` 0 users get the
    list for unknown users, else the chosen ranker's list.
    """
    relevant, found = test[test.stars >= train.liked_from], []
    half = np.random.default_rng(seed).random(train.shape[0]) < 0.5
    for cold in (half, ~half):
        shortened = with_short_histories(train, cold, most, seed)
        factory, seen, users = RankerFactory(shortened, trainer, seed), shortened.seen(), np.flatnonzero(cold).astype(np.int32)
        popularity = factory.popularity(choice.tuning.half_life)
        plain = lists_of(popularity, users, seen)
        if most:
            lists = lists_of(factory.make(choice.ranker, choice.tuning), users, seen)
        else:
            lists = np.tile(diverse_popular(popularity.scores, shortened, plain.shape[1]), (len(users), 1))
        found.append([user_metrics(users, rows, relevant) for rows in (lists, plain)])
    ours, popular = (UserMetrics(*map(np.concatenate, zip(*halves, strict=True))) for halves in zip(*found, strict=True))
    return ours, popular
