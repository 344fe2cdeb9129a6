"""Figures of a model on data it has not seen: held out by time, over several splits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auto_deployment.evaluation.held_out import HeldOut, RatingErrors, held_out_of
from auto_deployment.ranking import model_selection
from auto_deployment.ranking.factory import NAMES, Tuning
from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.metrics import interval
from auto_deployment.ranking.model_selection import Choice
from auto_deployment.ranking.offline_evaluation import RankingFigures, measure
from auto_deployment.training.surprise_svd import UserFilmBias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from auto_deployment.ranking.offline_evaluation import Offline
    from auto_deployment.training.dataset import Dataset, Ratings
    from auto_deployment.training.rating_model import Trainer

CUTS = (0.5, 0.6, 0.7, 0.8, 0.9)
TEST_SHARE = 0.1
SHUFFLES = 2
RANKING_CUT = 0.8
FEWEST_RATINGS = 50


class Split(NamedTuple):
    """Ratings before a cut in time, and those of the time after it."""

    train: Ratings
    test: Ratings


@dataclass(frozen=True)
class Errors:
    """RMSE of one model on each split: of all test rows, of those whose user was known at the cut, and of the others.

    None where a split has no such row.
    """

    all: tuple[float, ...]
    known: tuple[float | None, ...]
    unknown: tuple[float | None, ...]


class Beside(NamedTuple):
    """The chosen ranker compared with the ranker in service, on later ratings that no choice has seen.

    `quality` is the latter's mean, by which rankers are chosen; `above`, `low` and `high` how much more the former's is, with
    its interval over users.
    """

    ranker: str
    champion: str
    quality: float
    above: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """Everything the gate decides on and the report tells.

    `ranking` has each ranker's figures on one cut in time, `choice` is what was chosen before the cut. `untrained_champion` is
    why there are no metrics of the recipe in service, where it could not be trained.
    """

    rows: int
    test_rows: tuple[int, ...]
    known_rows: tuple[int, ...]
    model: Errors
    bias: Errors
    shuffled: tuple[tuple[float, ...], ...]
    ranking: dict[str, RankingFigures]
    absent_users: int
    champion: Errors | None = None
    untrained_champion: str | None = None
    beside: Beside | None = None
    choice: Choice = field(default_factory=lambda: Choice("popularity", Tuning(), {}, 0))
    held_out: HeldOut | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, object]:
        """For JSON, without what was held out; of the choice the ranker's name alone."""
        told = asdict(replace(self, held_out=None))
        del told["choice"], told["held_out"]
        return {**told, "chosen": self.choice.ranker}


def beside(evaluation: Evaluation, ranker: str, champion: str, seed: int) -> Beside | None:
    """The two rankers of an evaluation; None where they are the same, or there are not enough users to tell them apart."""
    per_user = evaluation.held_out.per_user if evaluation.held_out is not None else {}
    if ranker == champion or champion not in per_user:
        return None
    theirs = per_user[champion].quality
    above = interval(per_user[ranker].quality - theirs, seed)
    return None if above is None else Beside(ranker, champion, float(theirs.mean()), *above)


def time_splits(ratings: Ratings, cuts: Sequence[float] = CUTS, test_share: float = TEST_SHARE) -> list[Split]:
    """For each cut the ratings before it, and the `test_share` of all ratings that follow. `ratings` are in order of time."""
    n = len(ratings)
    return [Split(ratings[: int(n * cut)], ratings[int(n * cut) : int(n * (cut + test_share) + 0.5)]) for cut in cuts]


def rmse(predicted: npt.NDArray[np.float32], actual: npt.NDArray[np.float32]) -> float | None:
    """Root of the mean square error; None without a row."""
    if not len(actual):
        return None
    return float(np.sqrt(np.mean(np.square(predicted.astype(np.float64) - actual))))


def evaluate(
    dataset: Dataset,
    trainer: Trainer,
    scale: tuple[float, float],
    seed: int,
    step: Callable[[], None],
    rival: tuple[Trainer, int] | None = None,
    rankers: Sequence[str] = NAMES,
) -> Evaluation:
    """Train and score on every split, and compare with user-plus-film bias and with the same model on shuffled ratings.

    Choose a ranker.

    `rival`, a trainer and its seed, is trained and scored on the very same rows. Of `rankers` each is tuned and one is chosen
    on one cut in time, before it, and scored after it. `step` is called after each of `count_steps` trainings and trials. At
    least `FEWEST_RATINGS` ratings are needed.
    """
    shape = (len(dataset.users), len(dataset.films))
    splits = time_splits(dataset.ratings)
    known = [np.isin(split.test.user, split.train.user) for split in splits]

    apart: list[npt.NDArray[np.float64]] = []

    def errors_of(model: Trainer, shuffle: int | None = None, model_seed: int = seed) -> Errors:
        found = []
        apart.clear()
        for at, (train, test) in enumerate(splits):
            rows = train if shuffle is None else shuffled(train, seed + 1000 * at + shuffle)
            predicted = model.fit(rows, shape, scale, model_seed).predict(test.user, test.film)
            apart.append(np.square(predicted.astype(np.float64) - test.stars))
            found.append([rmse(predicted[mask], test.stars[mask]) for mask in (slice(None), known[at], ~known[at])])
            step()
        everybody, of_known, of_unknown = zip(*found, strict=True)
        return Errors(everybody, of_known, of_unknown)

    model = errors_of(trainer)
    errors = RatingErrors(np.concatenate([split.test.user for split in splits]), np.concatenate(apart))
    bias = errors_of(UserFilmBias())
    champion = errors_of(rival[0], model_seed=rival[1]) if rival is not None else None
    noise = tuple(errors_of(trainer, shuffle).all for shuffle in range(1, SHUFFLES + 1))
    ranked = ranking_figures(dataset, trainer, scale, seed, step, rankers)
    return Evaluation(
        len(dataset.ratings),
        tuple(len(split.test) for split in splits),
        tuple(int(mask.sum()) for mask in known),
        model,
        bias,
        noise,
        ranked.figures,
        ranked.absent_users,
        champion,
        choice=ranked.choice,
        held_out=held_out_of(*ranking_split(dataset, scale), ranked, errors),
    )


def count_steps(*, rival: bool = False, rankers: Sequence[str] = NAMES) -> int:
    """How many times `evaluate` calls `step`."""
    return len(CUTS) * (2 + SHUFFLES + rival) + model_selection.count_steps(rankers)


def shuffled(ratings: Ratings, seed: int) -> Ratings:
    """The same pairs with each other's stars: what is left when ratings say nothing about users and films."""
    stars = np.random.default_rng(seed).permutation(ratings.stars)
    return type(ratings)(ratings.user, ratings.film, stars, ratings.time)


def ranking_figures(
    dataset: Dataset,
    trainer: Trainer,
    scale: tuple[float, float],
    seed: int,
    step: Callable[[], None],
    rankers: Sequence[str] = NAMES,
) -> Offline:
    """The figures of `rankers` on one cut in time: ratings and watches before it train and choose, later ratings test."""
    return measure(*ranking_split(dataset, scale), trainer, seed, step, rankers)


def ranking_split(dataset: Dataset, scale: tuple[float, float]) -> tuple[Feedback, Ratings]:
    """Ratings and watches before the cut in time, and the later ratings."""
    (split,) = time_splits(dataset.ratings, (RANKING_CUT,), 1 - RANKING_CUT)
    before = dataset.watches[dataset.watches.time < split.test.time[0]]
    return Feedback(split.train, before, (len(dataset.users), len(dataset.films)), scale), split.test
