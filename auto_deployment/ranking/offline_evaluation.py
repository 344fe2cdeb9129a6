"""Metrics of every ranker on test ratings. Tuning and choice use the training part alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auto_deployment.ranking.metrics import MOST_USERS, lists_of, some_of, user_metrics
from auto_deployment.ranking.model_selection import choose
from auto_deployment.ranking.ranker import NONE
from auto_deployment.ranking.ranker_factory import NAMES, RankerFactory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.metrics import UserMetrics
    from auto_deployment.ranking.model_selection import Choice
    from auto_deployment.ranking.ranker import Indices
    from auto_deployment.training.dataset import Ratings
    from auto_deployment.training.rating_model import Trainer
    from auto_deployment.training.seen import Seen


@dataclass(frozen=True)
class RankingMetrics:
    """How good lists are: means over users with a relevant test film. `error` is the standard error of NDCG@10."""

    ndcg_at_10: float
    error: float
    recall_at_20: float
    coverage_at_20: float
    users: int


class OfflineEvaluation(NamedTuple):
    """The choice in the training part, and each ranker's metrics on the test part, over `users` with a relevant film.

    `seen` has the films that the lists leave out.
    """

    choice: Choice
    metrics: dict[str, RankingMetrics]
    per_user: dict[str, UserMetrics]
    absent_users: int
    users: int
    seen: Seen


def measure(
    train: Feedback,
    test: Ratings,
    trainer: Trainer,
    seed: int,
    step: Callable[[], None],
    rankers: Sequence[str] = NAMES,
    whole: Feedback | None = None,
) -> OfflineEvaluation:
    """Choose inside `train`, then score each of `rankers` on `test`, which no choice sees. `step` as in `choose`.

    Means are over users who rated or watched something in `train` and have a relevant test film, at most `MOST_USERS` users.
    `absent_users` counts users of `test` who did neither. Where `train` has only the latest films of each user, `whole` has all
    films; these are left out of lists.
    """
    choice = choose(train, trainer, seed, step, rankers)
    factory, seen = RankerFactory(train, trainer, seed), (whole or train).seen()
    known = np.flatnonzero(np.diff(seen.starts)).astype(np.int32)
    relevant = test[test.stars >= train.liked_from]
    wanted = np.intersect1d(known, relevant.user)
    # All of few users get lists, whatever they like later: their lists give the coverage.
    users = known if len(known) <= MOST_USERS else some_of(wanted, MOST_USERS)
    metrics, per_user = {}, {}
    for name in rankers:
        lists = lists_of(factory.make(name, choice.tuning), users, seen)
        per_user[name] = user_metrics(users, lists, relevant)
        metrics[name] = metrics_of(users, lists, relevant, train.shape[1])
    return OfflineEvaluation(
        choice=choice,
        metrics=metrics,
        per_user=per_user,
        absent_users=int(np.setdiff1d(test.user, known).size),
        users=len(wanted),
        seen=seen,
    )


def metrics_of(users: Indices, lists: Indices, relevant: Ratings, catalogue: int) -> RankingMetrics:
    """The metrics of the best 20 films of each of `users`, see `user_metrics`. `catalogue` is the number of all films."""
    scored = user_metrics(users, lists, relevant)
    shown = np.unique(lists[lists != NONE]).size / catalogue
    count = len(scored.users)
    return RankingMetrics(
        ndcg_at_10=float(scored.ndcg.mean()) if count else 0.0,
        error=float(scored.ndcg.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0,
        recall_at_20=float(scored.recall.mean()) if count else 0.0,
        coverage_at_20=shown,
        users=count,
    )
