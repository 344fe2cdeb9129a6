"""The metrics on held-out ratings, user by user: the base of quality by groups and by steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auto_deployment.ranking.diverse_popular import diverse_popular
from auto_deployment.ranking.metrics import RECALL_AT, UserMetrics, user_metrics
from auto_deployment.ranking.ranker_factory import RankerFactory
from auto_deployment.training.surprise_svd import UserFilmBias

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.offline_evaluation import OfflineEvaluation
    from auto_deployment.training.dataset import Ratings

    Floats = npt.NDArray[np.float64]


class RatingErrors(NamedTuple):
    """The rating model's squared errors on the rows after each cut in time, and whose they are, as rows of users."""

    user: npt.NDArray[np.int32]
    squared: Floats


class HeldOut(NamedTuple):
    """Metrics on later ratings, which no training and no choice has used.

    `per_user` has each ranker's metrics for users known at the cut. `absent` has the metrics of the popular list for the other
    users. `films` is the number of films that each user had rated or watched at the cut. `users` has the id of each user: all
    users of the data set, or the sample that was evaluated. Every other field names users by their rows in `users`.
    """

    per_user: dict[str, UserMetrics]
    absent: UserMetrics
    films: npt.NDArray[np.int64]
    errors: RatingErrors
    users: npt.NDArray[np.int64]


def held_out_of(
    train: Feedback, test: Ratings, offline: OfflineEvaluation, errors: RatingErrors, ids: npt.NDArray[np.int64]
) -> HeldOut:
    """The metrics of `offline` for users known in `train`, and of the popular list for the other users in `test`.

    `ids` are those of the users of `train`.
    """
    films = np.diff(offline.seen.starts)
    popularity = RankerFactory(train, UserFilmBias(), 0).popularity(offline.choice.tuning.half_life)
    relevant = test[test.stars >= train.liked_from]
    users = np.unique(relevant.user[films[relevant.user] == 0])
    lists = np.tile(diverse_popular(popularity.scores, train, RECALL_AT), (len(users), 1))
    return HeldOut(offline.per_user, user_metrics(users, lists, relevant), films, errors, ids)
