"""What users have seen, so that no list repeats it. Executors of Spark need this, and no trainer's library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Seen:
    """The films that each user rated or watched: those of user `u` are `films[starts[u]:starts[u + 1]]`, ascending."""

    starts: npt.NDArray[np.int64]
    films: npt.NDArray[np.int32]

    @staticmethod
    def of(users: npt.NDArray[np.int32], films: npt.NDArray[np.int32], n_users: int) -> Seen:
        """The seen films from pairs, which may be in any order and repeat."""
        order = np.lexsort((films, users))
        users, films = users[order], films[order]
        first = np.ones(len(users), dtype=bool)
        first[1:] = (np.diff(users) != 0) | (np.diff(films) != 0)
        users, films = users[first], films[first]
        return Seen(np.searchsorted(users, np.arange(n_users + 1)).astype(np.int64), films)

    def pairs(self, start: int, stop: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """The pairs of the users from `start` to before `stop`: users counted from `start`, and films."""
        counts = np.diff(self.starts[start : stop + 1])
        return np.repeat(np.arange(stop - start), counts), self.films[self.starts[start] : self.starts[stop]]
