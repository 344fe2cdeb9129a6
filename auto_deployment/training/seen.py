"""What users have seen, so that no list repeats it. Executors of Spark need this, and no trainer's library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

# Pairs are sorted for a block of users at a time: sorting takes many times the memory of the pairs.
BLOCK_USERS = 1 << 16
BLOCK_PAIRS = 1 << 22


@dataclass(frozen=True)
class Seen:
    """The films that each user rated or watched: those of user `u` are `films[starts[u]:starts[u + 1]]`, ascending."""

    starts: npt.NDArray[np.int64]
    films: npt.NDArray[np.int32]

    @staticmethod
    def of(users: npt.NDArray[np.int32], films: npt.NDArray[np.int32], n_users: int) -> Seen:
        """The seen films from pairs, which may be in any order and repeat."""
        blocks, counts = [], [np.zeros(1, dtype=np.int64)]
        width = int(films.max(initial=0)) + 1
        for start in range(0, n_users, BLOCK_USERS):
            size = min(BLOCK_USERS, n_users - start)
            mine = (users >= start) & (users < start + size)
            pairs = (users[mine] - start).astype(np.int64) * width + films[mine]
            pairs.sort()
            pairs = pairs[np.append(np.ones(1, dtype=bool), pairs[1:] != pairs[:-1])[: len(pairs)]]
            blocks.append((pairs % width).astype(np.int32))
            counts.append(np.bincount(pairs // width, minlength=size))
        return Seen(np.concatenate(counts).cumsum(), np.concatenate([np.zeros(0, dtype=np.int32), *blocks]))

    def audience(self, n_films: int) -> npt.NDArray[np.int64]:
        """How many users have seen each film."""
        counts = np.zeros(n_films, dtype=np.int64)
        for start in range(0, len(self.films), BLOCK_PAIRS):  # NumPy counts a copy of twice the size
            counts += np.bincount(self.films[start : start + BLOCK_PAIRS], minlength=n_films)
        return counts

    def pairs(self, start: int, stop: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """The pairs of the users from `start` to before `stop`: users counted from `start`, and films."""
        counts = np.diff(self.starts[start : stop + 1])
        return np.repeat(np.arange(stop - start), counts), self.films[self.starts[start] : self.starts[stop]]
