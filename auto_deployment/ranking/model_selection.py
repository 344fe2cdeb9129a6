"""The choice of a ranker and of its tuning, by ratings held out of the training data, with intervals over users.

The criterion is quality: a user's mean of NDCG@10 and Recall@20. Each ranker is tuned on the small grid below, in the order of
`GRIDS`, and keeps the tuning of those before it. The best ranker must beat popularity by an interval above 0; else popularity
wins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from auto_deployment.common.json_file import Stored
from auto_deployment.ranking.holdout import folds
from auto_deployment.ranking.metrics import Interval, UserMetrics, interval, lists_of, some_of, user_metrics
from auto_deployment.ranking.ranker_factory import NAMES, RankerFactory, Tuning, needed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.holdout import Fold
    from auto_deployment.ranking.ranker import Indices
    from auto_deployment.training.rating_model import Trainer

# Upper bounds of the work of one choice: rows of the sampled users, users whose lists are scored, films in EASE's dense part.
MOST_ROWS = 1_000_000
EVALUATED_USERS = 5_000
DENSE_FILMS = 4_000

# The tried values of each ranker's tuning; the middle ones suit MovieLens 100K.
GRIDS: dict[str, list[dict[str, Any]]] = {
    "popularity": [{"half_life": each} for each in (None, 0.25, 0.05)],
    "svd": [{}],
    "ease": [{"ease_ridge": each} for each in (12.5, 50.0, 200.0, 800.0)],
    "als": [{"als_ridge": each} for each in (2.0, 5.0, 10.0)],
    "blend": [{"als_share": als, "blend_popularity_share": popular} for als in (0.4, 0.8, 1.6) for popular in (0.1, 0.2)],
}


@dataclass(frozen=True)
class CandidateScore:
    """A ranker at its best tuning: means over users, and how far its quality is above popularity's."""

    ndcg_at_10: float
    recall_at_20: float
    quality: Interval | None
    above_popularity: Interval | None


class Choice(Stored):
    """The ranker that won, how each ranker is tuned, and the scores. `users` have a relevant held-out film."""

    ranker: str
    tuning: Tuning
    scores: dict[str, CandidateScore] = Field(validation_alias="judged", serialization_alias="judged")
    users: int


def choose(feedback: Feedback, trainer: Trainer, seed: int, step: Callable[[], None], rankers: Sequence[str] = NAMES) -> Choice:
    """Tune each of `rankers` (popularity among them) and pick one, all inside `feedback`.

    `step` is called after each of `count_steps` trials. Of a large table a sample of the users is enough.
    """
    evaluators = [
        _FoldEvaluator(fold, trainer, seed) for fold in folds(feedback.of_users(sampled_users(feedback, MOST_ROWS)), seed)
    ]
    tuning, best = Tuning(), dict[str, UserMetrics]()
    for name in rankers:
        tried = []
        for change in GRIDS[name]:
            candidate = replace(tuning, **change)
            tried.append((_joined([evaluator.evaluate(name, candidate) for evaluator in evaluators]), candidate))
            step()
        best[name], tuning = max(tried, key=lambda pair: pair[0].quality.mean() if len(pair[0].users) else 0.0)
    scores = {name: _score(each, best["popularity"], seed) for name, each in best.items()}
    return Choice(ranker=pick(scores), tuning=tuning, scores=scores, users=len(best["popularity"].users))


def rankers_for(setting: str, champion: str | None = None) -> tuple[str, ...]:
    """The rankers to tune for a value of `RANKER`: all for `auto`, else the parts of that ranker.

    The ranker in service is also tuned, if there is one: the new lists are compared with its lists.
    """
    wanted = {*needed(setting), *(needed(champion) if champion in NAMES else ())}
    return NAMES if setting == "auto" else tuple(name for name in NAMES if name in wanted)


def sampled_users(feedback: Feedback, most_rows: int) -> Indices:
    """Evenly spread users with about `most_rows` ratings and watches in all; all users where there are no more."""
    users, rows = feedback.shape[0], len(feedback.ratings) + len(feedback.watches)
    most = users * most_rows // rows if rows > most_rows else users
    return some_of(np.arange(users, dtype=np.int32), most)


def pick(scores: dict[str, CandidateScore]) -> str:
    """The ranker of the highest quality among those clearly above popularity: by an interval above 0. Else popularity."""
    clearly = {
        name: each.quality.mean
        for name, each in scores.items()
        if each.quality and each.above_popularity and each.above_popularity.low > 0
    }
    return max(clearly, key=lambda name: clearly[name], default="popularity")


def count_steps(rankers: Sequence[str] = NAMES) -> int:
    """How many times `choose` calls `step`."""
    return sum(len(GRIDS[name]) for name in rankers)


class _FoldEvaluator:
    """One fold with its rankers, and the users whose lists are scored."""

    def __init__(self, fold: Fold, trainer: Trainer, seed: int) -> None:
        self._factory = RankerFactory(fold.train, trainer, seed, DENSE_FILMS)
        self._seen = fold.train.seen()
        self._relevant = fold.held_out[fold.held_out.stars >= fold.train.liked_from]
        self._users = some_of(np.unique(self._relevant.user), EVALUATED_USERS)

    def evaluate(self, name: str, tuning: Tuning) -> UserMetrics:
        """The metrics of the ranker `name` with this tuning."""
        lists = lists_of(self._factory.make(name, tuning), self._users, self._seen)
        return user_metrics(self._users, lists, self._relevant)


def _joined(folds: list[UserMetrics]) -> UserMetrics:
    """Each user's mean over the folds that have the user."""
    users, at = np.unique(np.concatenate([each.users for each in folds]), return_inverse=True)
    counts = np.bincount(at, minlength=len(users))

    def mean(name: str) -> npt.NDArray[np.float64]:
        return np.bincount(at, np.concatenate([getattr(each, name) for each in folds]), len(users)) / counts

    return UserMetrics(users, mean("ndcg"), mean("recall"))


def _score(ranker: UserMetrics, popularity: UserMetrics, seed: int) -> CandidateScore:
    ndcg, recall = (float(each.mean()) if len(each) else 0.0 for each in (ranker.ndcg, ranker.recall))
    return CandidateScore(
        ndcg_at_10=ndcg,
        recall_at_20=recall,
        quality=interval(ranker.quality, seed),
        above_popularity=interval(ranker.quality - popularity.quality, seed),
    )
