"""Which ranker, and tuned how: chosen by held-out ratings inside the training data, with intervals over users.

What is chosen by is a user's mean of NDCG@10 and Recall@20. Each ranker is tuned on the small grid below, in the order of
`GRIDS`; what was chosen before is kept. The best then has to beat popularity by an interval above 0, or popularity it is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_deployment.ranking.factory import NAMES, RankerFactory, Tuning, needed
from auto_deployment.ranking.holdout import folds
from auto_deployment.ranking.metrics import PerUser, interval, lists_of, per_user, some_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.holdout import Fold
    from auto_deployment.ranking.metrics import Interval
    from auto_deployment.training.rating_model import Trainer

# A choice takes so much at most: rows of a sample of the users, users who are judged by, films in EASE's dense part.
MOST_ROWS = 1_000_000
JUDGED_USERS = 5_000
DENSE_FILMS = 4_000

# The values of each ranker's tuning that are tried; those in the middle suit MovieLens 100K.
GRIDS: dict[str, list[dict[str, Any]]] = {
    "popularity": [{"half_life": each} for each in (None, 0.25, 0.05)],
    "svd": [{}],
    "ease": [{"ease_ridge": each} for each in (12.5, 50.0, 200.0, 800.0)],
    "als": [{"als_ridge": each} for each in (2.0, 5.0, 10.0)],
    "blend": [{"als_share": als, "blend_popularity_share": popular} for als in (0.4, 0.8, 1.6) for popular in (0.1, 0.2)],
}


@dataclass(frozen=True)
class Judged:
    """A ranker at its best tuning: means over users, and by how much its quality is above popularity's."""

    ndcg_at_10: float
    recall_at_20: float
    quality: Interval | None
    above_popularity: Interval | None


@dataclass(frozen=True)
class Choice:
    """The ranker that won, how each is tuned, and what that was judged by: `users` with a relevant held-out film."""

    ranker: str
    tuning: Tuning
    judged: dict[str, Judged]
    users: int

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def choose(feedback: Feedback, trainer: Trainer, seed: int, step: Callable[[], None], rankers: Sequence[str] = NAMES) -> Choice:
    """Tune each of `rankers` (popularity among them) and pick one, all inside `feedback`.

    `step` is called after each of `count_steps` trials. Of a large table a sample of the users is enough.
    """
    benches = [_Bench(fold, trainer, seed) for fold in folds(_sampled(feedback), seed)]
    tuning, best = Tuning(), dict[str, PerUser]()
    for name in rankers:
        tried = []
        for change in GRIDS[name]:
            candidate = replace(tuning, **change)
            tried.append((_joined([bench.figures(name, candidate) for bench in benches]), candidate))
            step()
        best[name], tuning = max(tried, key=lambda pair: pair[0].quality.mean() if len(pair[0].users) else 0.0)
    judged = {name: _judged(each, best["popularity"], seed) for name, each in best.items()}
    return Choice(pick(judged), tuning, judged, len(best["popularity"].users))


def rankers_for(setting: str, champion: str | None = None) -> tuple[str, ...]:
    """What has to be tuned for a value of `RANKER`: all of them for `auto`, else what the ranker of that name is made of.

    The one in service, too, if there is one: it is what the new one is held against.
    """
    wanted = {*needed(setting), *(needed(champion) if champion in NAMES else ())}
    return NAMES if setting == "auto" else tuple(name for name in NAMES if name in wanted)


def _sampled(feedback: Feedback) -> Feedback:
    """The feedback of so many users, spread evenly, that they have about `MOST_ROWS` rows; all of it where there are fewer."""
    users, rows = feedback.shape[0], len(feedback.ratings) + len(feedback.watches)
    most = users * MOST_ROWS // rows if rows > MOST_ROWS else users
    return feedback.of_users(some_of(np.arange(users, dtype=np.int32), most))


def pick(judged: dict[str, Judged]) -> str:
    """The ranker of the highest quality, if it is above popularity beyond the interval; else popularity."""
    clearly = {
        name: each.quality.mean
        for name, each in judged.items()
        if each.quality and each.above_popularity and each.above_popularity.low > 0
    }
    return max(clearly, key=lambda name: clearly[name], default="popularity")


def count_steps(rankers: Sequence[str] = NAMES) -> int:
    """How many times `choose` calls `step`."""
    return sum(len(GRIDS[name]) for name in rankers)


class _Bench:
    """One fold with its rankers, and the users that are asked about."""

    def __init__(self, fold: Fold, trainer: Trainer, seed: int) -> None:
        self._factory = RankerFactory(fold.train, trainer, seed, DENSE_FILMS)
        self._seen = fold.train.seen()
        self._relevant = fold.held_out[fold.held_out.stars >= fold.train.liked_from]
        self._users = some_of(np.unique(self._relevant.user), JUDGED_USERS)

    def figures(self, name: str, tuning: Tuning) -> PerUser:
        """Of the ranker `name`, tuned like this."""
        lists = lists_of(self._factory.make(name, tuning), self._users, self._seen)
        return per_user(self._users, lists, self._relevant)


def _joined(figures: list[PerUser]) -> PerUser:
    """A user's mean over the folds that they are in."""
    users, at = np.unique(np.concatenate([each.users for each in figures]), return_inverse=True)
    counts = np.bincount(at, minlength=len(users))

    def mean(name: str) -> npt.NDArray[np.float64]:
        return np.bincount(at, np.concatenate([getattr(each, name) for each in figures]), len(users)) / counts

    return PerUser(users, mean("ndcg"), mean("recall"))


def _judged(figures: PerUser, popularity: PerUser, seed: int) -> Judged:
    values = figures.quality
    ndcg, recall = (float(each.mean()) if len(each) else 0.0 for each in (figures.ndcg, figures.recall))
    return Judged(ndcg, recall, interval(values, seed), interval(values - popularity.quality, seed))
