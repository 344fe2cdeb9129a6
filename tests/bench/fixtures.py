"""Artifacts and ratings of a chosen size, made up and the same each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app import model
from auto_deployment.ranking import list_weights
from auto_deployment.training.dataset import Ratings
from auto_deployment.training.seen import Seen

if TYPE_CHECKING:
    from pathlib import Path

FILMS = 27_000
USER_STEP = 3


def film_ids(count: int = FILMS) -> tuple[str, ...]:
    """Ids as long as real ones."""
    return tuple(f"the+{at:05d}th+film+of+the+benchmark+{1900 + at % 120}" for at in range(count))


# Of the version that freshness is measured on: seen films and likes of a user, films with item weights, and their weights.
SEEN, LIKES = 175, 50
DENSE, KEPT, FACTORS = 8_000, 300, 48


def artifact(folder: Path, users: int, films: int = FILMS, *, fresh: bool = False) -> Path:
    """An artifact in which user `USER_STEP * n` is known, with 40 different films for each. `fresh` adds its fresh part."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, films, size=(users, 1))
    step = rng.integers(1, films // model.RESERVE, size=(users, 1))
    top = ((first + step * np.arange(model.RESERVE)) % films).astype(model.row_type(films))
    known = np.arange(users, dtype=np.int64) * USER_STEP
    serving = {"users": known, "top": top, "cold": top[:1], **model.film_arrays(film_ids(films))}
    metadata = {"version": 1, "cold_lists": ["popular"], "scale": (1.0, 5.0)}
    if fresh:
        metadata["fresh"] = list_weights.facts((1.0, 5.0), 10**9, 500, {})
    model.save(folder, metadata, serving, {}, _fresh_arrays(rng, users, films) if fresh else None)
    return folder


def _fresh_arrays(rng: np.random.Generator, users: int, films: int) -> dict[str, model.Array]:
    number = model.row_type(films)
    seen = np.sort(rng.integers(0, films // SEEN, (users, SEEN)) + np.arange(SEEN) * (films // SEEN), axis=1)
    gaps, ends = list_weights.seen_gaps(Seen(np.arange(users + 1) * SEEN, seen.ravel().astype(np.int32)))
    return {
        "popular": rng.permutation(films).astype(np.int64) * 1_000_000,
        "film_minutes": np.full(films, 100, dtype=np.float32),
        "item_rows": np.arange(DENSE, dtype=number),
        "item_films": rng.integers(0, DENSE, (DENSE, KEPT)).astype(number),
        "item_weights": rng.integers(-32_767, 32_768, (DENSE, KEPT)).astype(np.int16),
        "item_factors": rng.integers(-1000, 1001, (films, FACTORS)).astype(np.int16),
        "like_ends": np.arange(1, users + 1) * LIKES,
        "like_films": seen[:, :LIKES].ravel().astype(number),
        "like_grades": rng.integers(1, 256, users * LIKES).astype(np.uint8),
        "seen_ends": ends,
        "seen_gaps": gaps,
    }


def ratings(count: int, users: int, films: int = FILMS) -> Ratings:
    """Ratings in which every film occurs and some are far more popular than others."""
    rng = np.random.default_rng(0)
    skewed = np.minimum((rng.pareto(0.8, count) * films / 200).astype(np.int64), films - 1)
    skewed[:films] = np.arange(films)
    user = rng.integers(0, users, count)
    stars = np.clip(np.rint(3.4 + 0.4 * np.sin(skewed) + 0.3 * np.sin(user) + 0.7 * rng.standard_normal(count)), 1, 5)
    return Ratings(user.astype(np.int32), skewed.astype(np.int32), stars.astype(np.float32), np.arange(count, dtype=np.int64))
