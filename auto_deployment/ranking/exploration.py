"""Films for exploration: each user gets some unseen films that few lists show, drawn ahead. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.ranking.precompute import BLOCK_USERS

if TYPE_CHECKING:
    import numpy.typing as npt

    from app.model import Array
    from auto_deployment.training.seen import Seen

CANDIDATES = 8
DRAWN = 24


def explore_arrays(serving: dict[str, Array], shown: npt.NDArray[np.int64], seen: Seen, seed: int) -> dict[str, Array]:
    """`explore_pool` and `explore` of the serving part, see `app.model`; `shown` is how many lists show each film.

    The pool is the half of the films that the fewest lists show, without those of the lists for unknown users.
    """
    top = serving["top"]
    rare = np.argsort(shown, kind="stable")[: len(shown) // 2]
    pool = rare[~np.isin(rare, serving["cold"])].astype(top.dtype)
    draw, empty = np.random.default_rng(seed), np.iinfo(top.dtype).max
    explore = np.full((len(top), CANDIDATES), empty, dtype=top.dtype)
    for start in range(0, len(top) if len(pool) else 0, BLOCK_USERS):
        stop = min(start + BLOCK_USERS, len(top))
        drawn = pool[draw.integers(0, len(pool), (stop - start, DRAWN))]
        explore[start:stop] = _first(drawn, ~_taken(drawn, top[start:stop], *seen.pairs(start, stop)), empty)
    return {"explore": explore, "explore_pool": pool}


def _taken(drawn: Array, top: Array, users: npt.NDArray[np.int64], films: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Which of the drawn films (users x draws) the user has seen, has in the list, or got by an earlier draw."""
    width = int(np.iinfo(drawn.dtype).max) + 1
    rows = np.arange(len(drawn), dtype=np.int64)[:, None] * width
    seen = np.isin(rows + drawn, users * width + films)
    listed = np.isin(rows + drawn, rows + top)
    again = (drawn[:, :, None] == drawn[:, None, :]) & np.tri(DRAWN, k=-1, dtype=bool)
    taken: npt.NDArray[np.bool_] = seen | listed | again.any(axis=2)
    return taken


def _first(drawn: Array, free: npt.NDArray[np.bool_], empty: int) -> Array:
    best = np.argsort(~free, axis=1, kind="stable")[:, :CANDIDATES]
    films: Array = np.where(np.take_along_axis(free, best, axis=1), np.take_along_axis(drawn, best, axis=1), empty)
    return films
