"""Computes every known user's list ahead, in blocks, for the artifact that services read."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.model import RESERVE, Array, film_arrays, row_type
from auto_deployment.ranking.ranker import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from auto_deployment.ranking.ranker import Indices, Ranker
    from auto_deployment.training.dataset import Dataset
    from auto_deployment.training.seen import Seen

BLOCK_USERS = 256


@dataclass(frozen=True)
class Lists:
    """Makes the lists of all users, block by block."""

    ranker: Ranker
    seen: Seen
    users: int

    def block(self, start: int) -> Indices:
        """The lists of the block that begins at user `start`."""
        return self.ranker.top(start, min(start + BLOCK_USERS, self.users), self.seen, RESERVE)


def by_threads(lists: Lists, starts: Sequence[int]) -> Iterator[Indices]:
    """The blocks that begin at `starts`, in their order. Each core makes one block at a time."""
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        yield from pool.map(lists.block, starts)
    finally:
        pool.shutdown(cancel_futures=True)


def serving_arrays(
    dataset: Dataset,
    ranker: Ranker,
    seen: Seen,
    step: Callable[[int], None],
    make: Callable[[Lists, Sequence[int]], Iterator[Indices]] = by_threads,
) -> dict[str, Array]:
    """The serving part without the lists for unknown users, see `app.model`.

    `step` is called with the number of users done, block by block, which `make` makes. Memory, without the result, is bounded
    by a block of users times all films a core, whatever the number of users.
    """
    top = np.empty((len(dataset.users), RESERVE), dtype=row_type(len(dataset.films)))
    starts = range(0, len(top), BLOCK_USERS)
    for start, rows in zip(starts, make(Lists(ranker, seen, len(top)), starts), strict=True):
        top[start : start + len(rows)] = _stored(rows, top.dtype)
        step(len(rows))
    return {"users": dataset.users, "top": top, **film_arrays(dataset.films)}


def cold_arrays(popular: Indices, dtype: np.dtype[np.uint16 | np.uint32]) -> dict[str, Array]:
    """The list for unknown users: `popular`, rows of films, best first."""
    cold = np.full((1, RESERVE), NONE, dtype=np.int32)
    cold[0, : len(popular)] = popular
    return {"cold": _stored(cold, dtype)}


def _stored(rows: Indices, dtype: np.dtype[np.uint16 | np.uint32]) -> Array:
    return np.where(rows == NONE, np.iinfo(dtype).max, rows).astype(dtype)
