"""What rankers are made from: who rated and who watched what, and how much a user seems to like each film of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from auto_deployment.rank import LIKED_FROM, NONE, Seen

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.dataset import Dataset, Ratings, Watches
    from auto_deployment.rank import Rows

    Floats = npt.NDArray[np.float32]

# Up to this share of the highest rating (2 of 5) a film is no like. The rest lie on a line up to 1: 3 of 5 is 0.7, 4 is 0.85.
NO_LIKE = 0.4
GRADE_SLOPE = 0.75
# Watched to the end is worth a rating of 4 of 5; left within this share of its length a film is no like.
WATCHED = 0.85
LEFT_EARLY = 0.1
# A film's length is what a tenth of its audience exceeds, where so many watched it; else that of all films.
LENGTH_QUANTILE = 0.9
FEWEST_WATCHERS = 10


@dataclass(frozen=True)
class Feedback:
    """Ratings and watches of so many users and films (`shape`), on a scale."""

    ratings: Ratings
    watches: Watches
    shape: tuple[int, int]
    scale: tuple[float, float]

    @staticmethod
    def of(dataset: Dataset, scale: tuple[float, float]) -> Feedback:
        """All that a data set holds."""
        return Feedback(dataset.ratings, dataset.watches, (len(dataset.users), len(dataset.films)), scale)

    def of_users(self, users: Rows) -> Feedback:
        """That of some users alone (ascending), who are numbered anew in their order."""
        if len(users) == self.shape[0]:
            return self
        number = np.full(self.shape[0], NONE, dtype=np.int32)
        number[users] = np.arange(len(users), dtype=np.int32)
        rated = self.ratings[number[self.ratings.user] != NONE]
        watched = self.watches[number[self.watches.user] != NONE]
        ratings, watches = replace(rated, user=number[rated.user]), replace(watched, user=number[watched.user])
        return Feedback(ratings, watches, (len(users), self.shape[1]), self.scale)

    def seen(self) -> Seen:
        """What each user rated or watched."""
        users = np.concatenate([self.ratings.user, self.watches.user])
        films = np.concatenate([self.ratings.film, self.watches.film])
        return Seen.of(users, films, self.shape[0])

    def taste(self) -> sparse.csr_array:
        """float32 users x films: 1 for a film liked as much as can be; a film that is no like has no entry.

        Who rated a film has told; how much of it they watched says something only where they did not.
        """
        rated = self.pairs(self.ratings)
        watched = ~np.isin(self.pairs(self.watches), rated)
        weights = np.concatenate([grades(self.ratings.stars, self.scale), watch_grades(self.watches)[watched]])
        pairs = np.concatenate([rated, self.pairs(self.watches)[watched]])[weights > 0]
        matrix = sparse.csr_array((weights[weights > 0], np.divmod(pairs, self.shape[1])), shape=self.shape, dtype=np.float32)
        matrix.sort_indices()
        return matrix

    @property
    def liked_from(self) -> float:
        """The lowest rating that says that a film was liked."""
        return LIKED_FROM * self.scale[1]

    def pairs(self, rows: Ratings | Watches) -> npt.NDArray[np.int64]:
        """A number for each row's pair of user and film."""
        return rows.user.astype(np.int64) * self.shape[1] + rows.film


def grades(stars: Floats, scale: tuple[float, float]) -> Floats:
    """How much a rating says that a film was liked, 0 to 1."""
    share = stars / scale[1]
    return np.where(share > NO_LIKE, 1 - GRADE_SLOPE * (1 - share), 0).astype(np.float32)


def watch_grades(watches: Watches) -> Floats:
    """How much the minutes say that a film was liked: the share of it that was watched, 0 where it was left early."""
    share = np.minimum(watches.minutes / _lengths(watches)[watches.film], 1) if len(watches) else np.zeros(0)
    return np.where(share > LEFT_EARLY, WATCHED * share, 0).astype(np.float32)


def _lengths(watches: Watches) -> npt.NDArray[np.float64]:
    """The length of each film in minutes, as far as its audience tells."""
    order = np.lexsort((watches.minutes, watches.film))
    counts = np.bincount(watches.film)
    starts = np.cumsum(counts) - counts
    places = np.minimum(starts + (LENGTH_QUANTILE * np.maximum(counts - 1, 0)).astype(np.int64), len(order) - 1)
    common = np.quantile(watches.minutes, LENGTH_QUANTILE)
    return np.where(counts >= FEWEST_WATCHERS, watches.minutes[order][places], common).astype(np.float64)
