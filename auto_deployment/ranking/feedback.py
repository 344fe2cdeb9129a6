"""The input of rankers: ratings and watches, and how much each user seems to like each film."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from auto_deployment.ranking.implicit_ratings import preferences_of_stars, preferences_of_watches
from auto_deployment.ranking.ranker import LIKED_FROM, NONE
from auto_deployment.training.latest import latest_rows
from auto_deployment.training.seen import BLOCK_USERS, Seen

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.ranking.ranker import Indices
    from auto_deployment.training.dataset import Dataset, Ratings, Watches

    Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Feedback:
    """Ratings on a scale, and watches. `shape` is the number of users and of films."""

    ratings: Ratings
    watches: Watches
    shape: tuple[int, int]
    scale: tuple[float, float]

    @staticmethod
    def of(dataset: Dataset, scale: tuple[float, float]) -> Feedback:
        """All feedback of a data set."""
        return Feedback(dataset.ratings, dataset.watches, (len(dataset.users), len(dataset.films)), scale)

    def of_users(self, users: Indices) -> Feedback:
        """The feedback of some users (ascending), numbered anew in their order."""
        if len(users) == self.shape[0]:
            return self
        number = np.full(self.shape[0], NONE, dtype=np.int32)
        number[users] = np.arange(len(users), dtype=np.int32)
        rated = self.ratings[number[self.ratings.user] != NONE]
        watched = self.watches[number[self.watches.user] != NONE]
        ratings, watches = replace(rated, user=number[rated.user]), replace(watched, user=number[watched.user])
        return Feedback(ratings, watches, (len(users), self.shape[1]), self.scale)

    def latest(self, most: int | None) -> Feedback:
        """The feedback with each user's latest `most` films, see `latest_rows`; all of it for None."""
        if most is None:
            return self
        rated, watched = latest_rows(self.ratings, self.watches, most)
        return replace(self, ratings=self.ratings[rated], watches=self.watches[watched])

    def seen(self) -> Seen:
        """What each user rated or watched."""
        users = np.concatenate([self.ratings.user, self.watches.user])
        films = np.concatenate([self.ratings.film, self.watches.film])
        return Seen.of(users, films, self.shape[0])

    def taste(self) -> sparse.csr_array:
        """float32 users x films: 1 for the strongest like; a film that is not liked has no entry.

        A rating says what a user thinks of a film. The watched minutes count only for films that the user did not rate.
        """
        stars, minutes = preferences_of_stars(self.ratings.stars, self.scale), preferences_of_watches(self.watches)
        blocks = [self._taste_from(start, stars, minutes) for start in range(0, self.shape[0], BLOCK_USERS)]
        return sparse.vstack(blocks, format="csr") if blocks else sparse.csr_array(self.shape, dtype=np.float32)

    def _taste_from(self, start: int, stars: Floats, minutes: Floats) -> sparse.csr_array:
        """The block of `taste` from user `start` on. `stars` and `minutes` are the preferences of all rows."""
        size = min(BLOCK_USERS, self.shape[0] - start)
        of_ratings, of_watches = ((rows.user >= start) & (rows.user < start + size) for rows in (self.ratings, self.watches))
        rated, watched = self.pairs(self.ratings[of_ratings]), self.pairs(self.watches[of_watches])
        unrated = ~np.isin(watched, rated)
        weights = np.concatenate([stars[of_ratings], minutes[of_watches][unrated]])
        pairs = np.concatenate([rated, watched[unrated]])[weights > 0] - start * self.shape[1]
        block = (size, self.shape[1])
        matrix = sparse.csr_array((weights[weights > 0], np.divmod(pairs, self.shape[1])), shape=block, dtype=np.float32)
        matrix.sort_indices()
        return matrix

    @property
    def liked_from(self) -> float:
        """The lowest rating that counts as a like."""
        return LIKED_FROM * self.scale[1]

    def pairs(self, rows: Ratings | Watches) -> npt.NDArray[np.int64]:
        """A number for each row's pair of user and film."""
        return rows.user.astype(np.int64) * self.shape[1] + rows.film
