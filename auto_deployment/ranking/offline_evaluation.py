"""Figures of every ranker on test ratings, each tuned and one of them chosen inside the training part. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auto_deployment.ranking.factory import NAMES, RankerFactory
from auto_deployment.ranking.metrics import MOST_USERS, lists_of, per_user, some_of
from auto_deployment.ranking.model_selection import choose
from auto_deployment.ranking.ranker import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.metrics import PerUser
    from auto_deployment.ranking.model_selection import Choice
    from auto_deployment.ranking.ranker import Rows
    from auto_deployment.training.dataset import Ratings
    from auto_deployment.training.rating_model import Trainer


@dataclass(frozen=True)
class RankingFigures:
    """How good lists are: means over users with a relevant test film, `error` is the standard error of NDCG@10."""

    ndcg_at_10: float
    error: float
    recall_at_20: float
    coverage_at_20: float
    users: int


class Offline(NamedTuple):
    """What was chosen in the training part, and each ranker's figures on the test part, of `users` that could be judged."""

    choice: Choice
    figures: dict[str, RankingFigures]
    per_user: dict[str, PerUser]
    absent_users: int
    users: int


def measure(
    train: Feedback, test: Ratings, trainer: Trainer, seed: int, step: Callable[[], None], rankers: Sequence[str] = NAMES
) -> Offline:
    """Choose inside `train`, then score each of `rankers` on `test`, which no choice sees. `step` as in `choose`.

    Means are over users who rated or watched something in `train` and have a relevant test film, at most `MOST_USERS` users.
    `absent_users` counts users of `test` who did neither.
    """
    choice = choose(train, trainer, seed, step, rankers)
    factory, seen = RankerFactory(train, trainer, seed), train.seen()
    known = np.flatnonzero(np.diff(seen.starts)).astype(np.int32)
    relevant = test[test.stars >= train.liked_from]
    wanted = np.intersect1d(known, relevant.user)
    # Of few users all have lists, whatever they like later: what these show is the coverage.
    users = known if len(known) <= MOST_USERS else some_of(wanted, MOST_USERS)
    figures, apart = {}, {}
    for name in rankers:
        lists = lists_of(factory.make(name, choice.tuning), users, seen)
        apart[name] = per_user(users, lists, relevant)
        figures[name] = figures_of(users, lists, relevant, train.shape[1])
    return Offline(choice, figures, apart, int(np.setdiff1d(test.user, known).size), len(wanted))


def figures_of(users: Rows, lists: Rows, relevant: Ratings, catalogue: int) -> RankingFigures:
    """The figures of the best 20 films of each of `users`, see `per_user`; `catalogue` is how many films there are."""
    told = per_user(users, lists, relevant)
    shown = np.unique(lists[lists != NONE]).size / catalogue
    if not len(told.users):
        return RankingFigures(0.0, 0.0, 0.0, shown, 0)
    error = float(told.ndcg.std(ddof=1) / np.sqrt(len(told.ndcg))) if len(told.ndcg) > 1 else 0.0
    return RankingFigures(float(told.ndcg.mean()), error, float(told.recall.mean()), shown, len(told.users))
