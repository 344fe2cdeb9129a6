"""Metrics of a model on held-out data: later ratings, over several splits by time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import Field

from auto_deployment.common.json_file import Stored
from auto_deployment.evaluation.held_out import HeldOut, RatingErrors, held_out_of
from auto_deployment.ranking import model_selection
from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.metrics import interval
from auto_deployment.ranking.model_selection import sampled_users
from auto_deployment.ranking.offline_evaluation import RankingMetrics, measure
from auto_deployment.ranking.ranker_factory import NAMES
from auto_deployment.training.sizes import EVALUATED_ROWS
from auto_deployment.training.surprise_svd import UserFilmBias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from auto_deployment.ranking.model_selection import Choice
    from auto_deployment.ranking.offline_evaluation import OfflineEvaluation
    from auto_deployment.training.dataset import Dataset, Ratings
    from auto_deployment.training.rating_model import Trainer

CUTS = (0.5, 0.6, 0.7, 0.8, 0.9)
TEST_SHARE = 0.1
SHUFFLES = 2
RANKING_CUT = 0.8
FEWEST_RATINGS = 50


class TimeSplit(NamedTuple):
    """Ratings before a cut in time, and later ratings."""

    train: Ratings
    test: Ratings


@dataclass(frozen=True)
class Errors:
    """RMSE of one model on each split: of all test rows, of users known at the cut, and of unknown users.

    None where a split has no such row.
    """

    all: tuple[float, ...]
    known: tuple[float | None, ...]
    unknown: tuple[float | None, ...]


class RankerComparison(NamedTuple):
    """The chosen ranker compared with the champion's ranker, on later ratings that no choice has used.

    `quality` is the champion's mean quality. `above` is how far the chosen ranker's quality is above it, and `low` to `high` is
    the interval over users.
    """

    ranker: str
    champion: str
    quality: float
    above: float
    low: float
    high: float


class Evaluation(Stored):
    """The evidence for the gate and the report, as metadata.json keeps it.

    `ranking` has each ranker's metrics after one cut in time, `chosen` is the ranker that won before the cut. `champion` is the
    recipe in service on the same rows. `untrained_champion` is the reason where that recipe could not be trained.
    `sampled_users` is the number of evaluated users of a table that is too large to evaluate whole; None where all users are.
    """

    rows: int
    test_rows: tuple[int, ...]
    known_rows: tuple[int, ...]
    model: Errors
    bias: Errors
    shuffled: tuple[tuple[float, ...], ...]
    ranking: dict[str, RankingMetrics]
    absent_users: int
    champion: Errors | None = None
    untrained_champion: str | None = None
    comparison: RankerComparison | None = Field(default=None, validation_alias="beside", serialization_alias="beside")
    chosen: str = "popularity"
    sampled_users: int | None = None


class Evaluated(NamedTuple):
    """The result of `evaluate`: the evidence, the choice of a ranker, and the held-out ratings' metrics by user."""

    evaluation: Evaluation
    choice: Choice
    held_out: HeldOut


def compare_rankers(held_out: HeldOut, ranker: str, champion: str, seed: int) -> RankerComparison | None:
    """Compare two rankers user by user. None where they are the same, or where too few users have both lists."""
    per_user = held_out.per_user
    if ranker == champion or champion not in per_user:
        return None
    champion_quality = per_user[champion].quality
    above = interval(per_user[ranker].quality - champion_quality, seed)
    return None if above is None else RankerComparison(ranker, champion, float(champion_quality.mean()), *above)


def time_splits(ratings: Ratings, cuts: Sequence[float] = CUTS, test_share: float = TEST_SHARE) -> list[TimeSplit]:
    """For each cut the ratings before it, and the `test_share` of all ratings that follow. `ratings` are in order of time."""
    n = len(ratings)
    return [TimeSplit(ratings[: int(n * cut)], ratings[int(n * cut) : int(n * (cut + test_share) + 0.5)]) for cut in cuts]


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
    champion: tuple[Trainer, int] | None = None,
    rankers: Sequence[str] = NAMES,
    latest: int | None = None,
) -> Evaluated:
    """Train and score a model on every split, and choose a ranker. Of a large table all this is done on a sample of users.

    The baselines are user-plus-film bias, and the same model on shuffled ratings. `champion`, a trainer and its seed, is
    trained and scored on the same rows. Each of `rankers` is tuned before one cut in time, one is chosen there, and all are
    scored after it. `step` is called after each of `count_steps` trainings and trials. `FEWEST_RATINGS` ratings are needed.
    With `latest` each training has only each user's latest films before its cut, as the final training has.
    """
    data = dataset.sample or dataset
    everybody = Feedback.of(data, scale)
    users = sampled_users(everybody, EVALUATED_ROWS)
    feedback = everybody.of_users(users)
    shape, splits = feedback.shape, [_with_latest(split, feedback, latest) for split in time_splits(feedback.ratings)]
    known = [np.isin(split.test.user, split.train.user) for split in splits]

    squared: list[npt.NDArray[np.float64]] = []

    def errors_of(model: Trainer, shuffle: int | None = None, model_seed: int = seed) -> Errors:
        found = []
        squared.clear()
        for at, (train, test) in enumerate(splits):
            rows = train if shuffle is None else shuffled(train, seed + 1000 * at + shuffle)
            predicted = model.fit(rows, shape, scale, model_seed).predict(test.user, test.film)
            squared.append(np.square(predicted.astype(np.float64) - test.stars))
            found.append([rmse(predicted[mask], test.stars[mask]) for mask in (slice(None), known[at], ~known[at])])
            step()
        of_all, of_known, of_unknown = zip(*found, strict=True)
        return Errors(of_all, of_known, of_unknown)

    model = errors_of(trainer)
    errors = RatingErrors(np.concatenate([split.test.user for split in splits]), np.concatenate(squared))
    bias = errors_of(UserFilmBias())
    champion_errors = errors_of(champion[0], model_seed=champion[1]) if champion is not None else None
    noise = tuple(errors_of(trainer, shuffle).all for shuffle in range(1, SHUFFLES + 1))
    ranked = evaluate_rankers(feedback, trainer, seed, step, rankers, latest)
    evaluation = Evaluation(
        rows=len(feedback.ratings),
        test_rows=tuple(len(split.test) for split in splits),
        known_rows=tuple(int(mask.sum()) for mask in known),
        model=model,
        bias=bias,
        shuffled=noise,
        ranking=ranked.metrics,
        absent_users=ranked.absent_users,
        champion=champion_errors,
        chosen=ranked.choice.ranker,
        sampled_users=len(users) if len(users) < len(dataset.users) else None,
    )
    train, test = ranking_split(feedback)
    held_out = held_out_of(train.latest(latest), test, ranked, errors, data.users[users])
    return Evaluated(evaluation, ranked.choice, held_out)


def count_steps(*, champion: bool = False, rankers: Sequence[str] = NAMES) -> int:
    """How many times `evaluate` calls `step`."""
    return len(CUTS) * (2 + SHUFFLES + champion) + model_selection.count_steps(rankers)


def shuffled(ratings: Ratings, seed: int) -> Ratings:
    """The same pairs with permuted stars: ratings without information about users and films."""
    stars = np.random.default_rng(seed).permutation(ratings.stars)
    return type(ratings)(ratings.user, ratings.film, stars, ratings.time)


def evaluate_rankers(
    feedback: Feedback,
    trainer: Trainer,
    seed: int,
    step: Callable[[], None],
    rankers: Sequence[str] = NAMES,
    latest: int | None = None,
) -> OfflineEvaluation:
    """The metrics of `rankers` at one cut in time: earlier ratings and watches train and choose, later ratings test.

    With `latest` only that number of each user's films before the cut trains; lists leave out all of them.
    """
    train, test = ranking_split(feedback)
    return measure(train.latest(latest), test, trainer, seed, step, rankers, train)


def _with_latest(split: TimeSplit, feedback: Feedback, latest: int | None) -> TimeSplit:
    """The split whose training rows are of the latest films that each user rated or watched before the cut."""
    if latest is None or not len(split.test):
        return split
    watches = feedback.watches[feedback.watches.time < split.test.time[0]]
    return split._replace(train=replace(feedback, ratings=split.train, watches=watches).latest(latest).ratings)


def ranking_split(feedback: Feedback) -> tuple[Feedback, Ratings]:
    """Ratings and watches before the cut in time, and the later ratings."""
    (split,) = time_splits(feedback.ratings, (RANKING_CUT,), 1 - RANKING_CUT)
    before = feedback.watches[feedback.watches.time < split.test.time[0]]
    return replace(feedback, ratings=split.train, watches=before), split.test
