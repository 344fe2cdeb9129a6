"""Figures of a model on data it has not seen: held out by time, over several splits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auto_deployment.rank import LIKED_FROM, NONE, ByRating, Popularity, Ranker, Seen
from auto_deployment.train import UserFilmBias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from auto_deployment.dataset import Dataset, Ratings
    from auto_deployment.rank import Rows
    from auto_deployment.train import Trainer

CUTS = (0.5, 0.6, 0.7, 0.8, 0.9)
TEST_SHARE = 0.1
SHUFFLES = 2
RANKING_CUT = 0.8
NDCG_AT = 10
RECALL_AT = 20
FEWEST_RATINGS = 50
MOST_USERS = 20_000


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


@dataclass(frozen=True)
class RankingFigures:
    """How good lists are: means over users with a relevant test film, `error` is the standard error of NDCG@10."""

    ndcg_at_10: float
    error: float
    recall_at_20: float
    coverage_at_20: float
    users: int


@dataclass(frozen=True)
class Evaluation:
    """Everything the gate decides on and the report tells."""

    rows: int
    test_rows: tuple[int, ...]
    known_rows: tuple[int, ...]
    model: Errors
    bias: Errors
    shuffled: tuple[tuple[float, ...], ...]
    ranking: dict[str, RankingFigures]
    absent_users: int
    champion: Errors | None = None

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


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
) -> Evaluation:
    """Train and score on every split, beside it user-plus-film bias and the same model on shuffled ratings.

    `rival`, a trainer and its seed, is trained and scored on the very same rows. `step` is called after each of `count_steps`
    trainings. At least `FEWEST_RATINGS` ratings are needed.
    """
    shape = (len(dataset.users), len(dataset.films))
    splits = time_splits(dataset.ratings)
    known = [np.isin(split.test.user, split.train.user) for split in splits]

    def errors_of(model: Trainer, shuffle: int | None = None, model_seed: int = seed) -> Errors:
        found = []
        for at, (train, test) in enumerate(splits):
            rows = train if shuffle is None else shuffled(train, seed + 1000 * at + shuffle)
            predicted = model.fit(rows, shape, scale, model_seed).predict(test.user, test.film)
            found.append([rmse(predicted[mask], test.stars[mask]) for mask in (slice(None), known[at], ~known[at])])
            step()
        everybody, of_known, of_unknown = zip(*found, strict=True)
        return Errors(everybody, of_known, of_unknown)

    model, bias = errors_of(trainer), errors_of(UserFilmBias())
    champion = errors_of(rival[0], model_seed=rival[1]) if rival is not None else None
    noise = tuple(errors_of(trainer, shuffle).all for shuffle in range(1, SHUFFLES + 1))
    ranking, absent = ranking_figures(dataset, trainer, scale, seed)
    step()
    sizes, known_sizes = tuple(len(split.test) for split in splits), tuple(int(mask.sum()) for mask in known)
    return Evaluation(len(dataset.ratings), sizes, known_sizes, model, bias, noise, ranking, absent, champion)


def count_steps(*, rival: bool = False) -> int:
    """How many times `evaluate` calls `step`."""
    return len(CUTS) * (2 + SHUFFLES + rival) + 1


def shuffled(ratings: Ratings, seed: int) -> Ratings:
    """The same pairs with each other's stars: what is left when ratings say nothing about users and films."""
    stars = np.random.default_rng(seed).permutation(ratings.stars)
    return type(ratings)(ratings.user, ratings.film, stars, ratings.time)


def ranking_figures(
    dataset: Dataset, trainer: Trainer, scale: tuple[float, float], seed: int
) -> tuple[dict[str, RankingFigures], int]:
    """The figures of each ranker on one cut in time, and how many users of the test had no rating before it."""
    (split,) = time_splits(dataset.ratings, (RANKING_CUT,), 1 - RANKING_CUT)
    shape = (len(dataset.users), len(dataset.films))
    popularity = Popularity(split.train, None, shape[1], scale)
    factors = trainer.fit(split.train, shape, scale, seed)
    rankers: list[Ranker] = [popularity, ByRating(factors, split.train, popularity)]
    seen = Seen.of(split.train.user, split.train.film, shape[0])
    relevant = split.test[split.test.stars >= LIKED_FROM * scale[1]]
    users = _some(np.unique(split.train.user))
    figures = {ranker.name: figures_of(users, _lists(ranker, users, seen), relevant, shape[1]) for ranker in rankers}
    return figures, int(np.setdiff1d(split.test.user, split.train.user).size)


def figures_of(users: Rows, lists: Rows, relevant: Ratings, catalogue: int) -> RankingFigures:
    """NDCG@10 with the ideal over min(10, relevant), Recall@20 over all relevant: means over `users` with a relevant film.

    `lists` has the best 20 films of each of `users`, `NONE` where there is none; `catalogue` is how many films there are.
    """
    wanted: dict[int, set[int]] = {}
    for user, film in zip(relevant.user.tolist(), relevant.film.tolist(), strict=True):
        wanted.setdefault(user, set()).add(film)
    pairs = [(row, wanted[user]) for user, row in zip(users.tolist(), lists.tolist(), strict=True) if user in wanted]
    ndcg = np.array([_ndcg(row[:NDCG_AT], films) for row, films in pairs])
    recall = [len(films.intersection(row[:RECALL_AT])) / len(films) for row, films in pairs]
    shown = np.unique(lists[lists != NONE]).size / catalogue
    if not pairs:
        return RankingFigures(0.0, 0.0, 0.0, shown, 0)
    error = float(ndcg.std(ddof=1) / np.sqrt(len(ndcg))) if len(ndcg) > 1 else 0.0
    return RankingFigures(float(ndcg.mean()), error, float(np.mean(recall)), shown, len(pairs))


def _ndcg(row: list[int], wanted: set[int]) -> float:
    gain = sum(1 / np.log2(place + 2) for place, film in enumerate(row) if film in wanted)
    ideal = sum(1 / np.log2(place + 2) for place in range(min(NDCG_AT, len(wanted))))
    return float(gain / ideal)


def _some(users: Rows) -> Rows:
    """At most `MOST_USERS` users, spread evenly: enough for the figures at any size."""
    return users if len(users) <= MOST_USERS else users[np.linspace(0, len(users) - 1, MOST_USERS).astype(np.int64)]


def _lists(ranker: Ranker, users: Rows, seen: Seen) -> Rows:
    """The best films of some users, one by one: a block would rank all users between them too."""
    return np.concatenate([ranker.top(user, user + 1, seen, RECALL_AT) for user in users.tolist()])
