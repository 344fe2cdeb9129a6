"""A small version with a fresh part: a like for a film speaks for the next film, and the films are popular in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app.events import Rating, Watch
from app.fresh.list_model import ListModel
from auto_deployment.ranking.list_weights import seen_gaps
from auto_deployment.training.seen import Seen
from tests.unit.app.samples import FEW, FILMS, FULL, SEEN_ALL, save

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from app.fresh.state import State
    from app.model import Array

COUNT = len(FILMS)
MINUTES = 100
TIME = "2026-11-29T12:00:00"
# What the three users of the sample artifact have seen: films after their lists, all but five films, and all films.
SEEN = ([*range(40, 50)], [*range(45)], [*range(50)])
LIKED: tuple[list[int], ...] = ([42], [3], [])


def fresh_arrays() -> dict[str, Array]:
    """The arrays of the fresh part."""
    counts = np.cumsum([0, *map(len, SEEN)])
    gaps, ends = seen_gaps(Seen(counts, np.concatenate(SEEN).astype(np.int32)))
    liked = np.concatenate([np.array(each, dtype=np.uint16) for each in LIKED])
    return {
        "popular": np.arange(COUNT, 0, -1, dtype=np.int64),
        "film_minutes": np.full(COUNT, MINUTES, dtype=np.float32),
        "item_rows": np.arange(COUNT, dtype=np.uint16),
        "item_films": ((np.arange(COUNT) + 1) % COUNT).astype(np.uint16)[:, None],
        "item_weights": np.full((COUNT, 1), 1000, dtype=np.int16),
        "like_ends": np.cumsum([len(each) for each in LIKED]),
        "like_films": liked,
        "like_grades": np.full(len(liked), 200, dtype=np.uint8),
        "seen_ends": ends,
        "seen_gaps": gaps,
    }


def facts(item_share: int = 1) -> dict[str, Any]:
    """What the metadata say about the fresh part."""
    grades = {"1": 0, "2": 0, "3": 179, "4": 217, "5": 255}
    liking: dict[str, Any] = {"grades": grades, "watched_grade": 217, "left_early": 0.1}
    return {**liking, "item_share": item_share, "user_id_max": 1_999_999, "offsets": {}}


class Records:
    """The records of a state, as a reader finds them."""

    def __init__(self, state: State) -> None:
        self._state = state

    def find(self, user: int) -> bytes | None:
        """A user's record."""
        return self._state.records().get(user)


def save_fresh(folder: Path, without: Sequence[str] = (), arrays: Mapping[str, Array] | None = None, **metadata: Any) -> Path:
    """Save the version in `folder`, without some arrays of its fresh part, and with more arrays of its serving part."""
    fresh = {name: array for name, array in fresh_arrays().items() if name not in without}
    return save(folder, {"fresh": facts(), "scale": (1.0, 5.0), **metadata}, None, fresh, **(arrays or {}))


def list_model(folder: Path, without: Sequence[str] = ()) -> ListModel:
    """The version's list model."""
    return ListModel(save_fresh(folder, without))


def rated(user: int, film: int, stars: float = 5) -> Rating:
    """A rating of a film by its number."""
    return Rating(TIME, user, FILMS[film], stars)


def watched(user: int, film: int, minute: int = 1) -> Watch:
    """A minute of a film by its number."""
    return Watch(TIME, user, FILMS[film], minute)


__all__ = [
    "COUNT",
    "FEW",
    "FILMS",
    "FULL",
    "MINUTES",
    "SEEN",
    "SEEN_ALL",
    "Records",
    "facts",
    "fresh_arrays",
    "list_model",
    "rated",
    "save_fresh",
    "watched",
]
