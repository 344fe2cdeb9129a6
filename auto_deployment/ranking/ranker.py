"""Rankers order the films for a user, best first. All have one small interface, see `Ranker`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from auto_deployment.training.seen import BLOCK_USERS

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.training.dataset import Ratings, Watches
    from auto_deployment.training.rating_model import Factors
    from auto_deployment.training.seen import Seen

    Indices = npt.NDArray[np.int32]

NONE = -1
LIKED_FROM = 0.8
# This many ratings of a film weigh as much as the mean of all films.
PRIOR_RATINGS = 10


class Ranker(Protocol):
    """Ranks films for users of the data set it was made from.

    A user without feedback gets the popular list: `top` falls back to `Popularity` for such a user.
    """

    name: str

    def top(self, start: int, stop: int, seen: Seen, count: int) -> Indices:
        """The best `count` unseen films of the users from `start` to before `stop`, best first, `NONE` where there is none."""
        ...


class Popularity:
    """The films that many like, the same order for everybody.

    A film's score is its audience (users who rated or watched it) times the share of its ratings that are likes. The share is
    shrunk towards the share over all films, so that a single vote of five stars is worth little. With a `half_life`
    (microseconds) a user of the audience counts half for each half-life between their event and the last event. The result is
    what is popular now.
    """

    name = "popularity"

    def __init__(
        self,
        ratings: Ratings,
        watches: Watches | None,
        n_films: int,
        scale: tuple[float, float],
        half_life: float | None = None,
    ) -> None:
        liked = ratings.stars >= LIKED_FROM * scale[1]
        rated = np.bincount(ratings.film, minlength=n_films)
        likes = np.bincount(ratings.film[liked], minlength=n_films)
        # Without any like the audience alone decides.
        prior = liked.mean() if liked.any() else 1.0
        share = (likes + PRIOR_RATINGS * prior) / (rated + PRIOR_RATINGS)
        self.scores = _audience(ratings, watches, n_films, half_life) * share
        self.order: Indices = np.argsort(-self.scores, kind="stable").astype(np.int32)

    def top(self, start: int, stop: int, seen: Seen, count: int) -> Indices:
        """See `Ranker`."""
        users, films = seen.pairs(start, stop)
        most = int(np.bincount(users, minlength=1).max(initial=0))
        candidates = self.order[: count + most]
        place = np.full(len(self.order), NONE, dtype=np.int64)
        place[candidates] = np.arange(len(candidates))
        taken = np.zeros((stop - start, len(candidates)), dtype=bool)
        near = place[films] != NONE
        taken[users[near], place[films[near]]] = True
        best = np.argsort(taken, axis=1, kind="stable")[:, :count]
        rows = np.where(np.take_along_axis(taken, best, axis=1), NONE, candidates[best])
        return _padded(rows, count)


class ByRating:
    """The films with the highest predicted rating, before clipping: clipping makes ties at the top."""

    name = "svd"

    def __init__(self, factors: Factors, trained: Ratings, popularity: Popularity) -> None:
        self._factors = factors
        self._popularity = popularity
        self._rated = np.zeros(len(factors.user_bias), dtype=bool)
        self._rated[trained.user] = True

    def top(self, start: int, stop: int, seen: Seen, count: int) -> Indices:
        """See `Ranker`. Users who never rated have no factors: they get the popular list."""
        scores = self._factors.user_factors[start:stop] @ self._factors.film_factors.T + self._factors.film_bias
        rows = top_of(scores, *seen.pairs(start, stop), count)
        unrated = ~self._rated[start:stop]
        if unrated.any():
            rows[unrated] = self._popularity.top(start, stop, seen, count)[unrated]
        return rows


def top_of(scores: npt.NDArray[np.float32], users: npt.NDArray[np.int64], films: Indices, count: int) -> Indices:
    """The best `count` columns of each row of `scores`, without the pairs (`users`, `films`); of equal ones the first film."""
    scores[users, films] = -np.inf
    count_here = min(count, scores.shape[1])
    best = np.sort(np.argpartition(-scores, count_here - 1, axis=1)[:, :count_here], axis=1)
    values = np.take_along_axis(scores, best, axis=1)
    # If films after the last place have its score, chance decided which of them got the place.
    last = values.min(axis=1, keepdims=True)
    by_chance = (scores == last).sum(axis=1) > (values == last).sum(axis=1)
    best[by_chance] = np.sort(np.argsort(-scores[by_chance], axis=1, kind="stable")[:, :count_here], axis=1)
    values = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    rows = np.take_along_axis(best, order, axis=1).astype(np.int32)
    rows[np.take_along_axis(values, order, axis=1) == -np.inf] = NONE
    return _padded(rows, count)


def _audience(
    ratings: Ratings, watches: Watches | None, n_films: int, half_life: float | None
) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    """The number of different users who rated or watched each film; with a half-life, older events count less."""
    tables: list[Ratings | Watches] = [ratings] if watches is None else [ratings, watches]
    users = 1 + max(int(each.user.max(initial=-1)) for each in tables)
    last = max(int(each.time.max(initial=0)) for each in tables)
    audience = np.zeros(n_films) if half_life is not None else np.zeros(n_films, dtype=np.int64)
    for start in range(0, users, BLOCK_USERS):
        mine = [(each.user >= start) & (each.user < start + BLOCK_USERS) for each in tables]
        films, latest = _latest_of_pairs([each[rows] for each, rows in zip(tables, mine, strict=True)], n_films)
        # Each film's sum runs over its users in their order, so blocks do not change it.
        np.add.at(audience, films, 1 if half_life is None else np.exp2(-(last - latest) / half_life))
    return audience


def _latest_of_pairs(tables: list[Ratings | Watches], n_films: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The film of each pair of user and film, by user, and the later of its times in both tables."""
    users, films, times = (np.concatenate([getattr(each, name) for each in tables]) for name in ("user", "film", "time"))
    pairs = users.astype(np.int64) * n_films + films
    order = np.lexsort((times, pairs))
    pairs, times = pairs[order], times[order]
    is_last = np.append(pairs[1:] != pairs[:-1], True)[: len(pairs)]
    return pairs[is_last] % n_films, times[is_last]


def _padded(rows: Indices, count: int) -> Indices:
    missing = count - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing)), constant_values=NONE) if missing > 0 else rows
