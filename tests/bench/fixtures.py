"""Artifacts and ratings of a chosen size, made up and the same each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app import model
from auto_deployment.training.dataset import Ratings

if TYPE_CHECKING:
    from pathlib import Path

FILMS = 27_000
USER_STEP = 3


def film_ids(count: int = FILMS) -> tuple[str, ...]:
    """Ids as long as real ones."""
    return tuple(f"the+{at:05d}th+film+of+the+benchmark+{1900 + at % 120}" for at in range(count))


def artifact(folder: Path, users: int, films: int = FILMS) -> Path:
    """An artifact in which user `USER_STEP * n` is known, with 40 different films for each."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, films, size=(users, 1))
    step = rng.integers(1, films // model.RESERVE, size=(users, 1))
    top = ((first + step * np.arange(model.RESERVE)) % films).astype(model.row_type(films))
    known = np.arange(users, dtype=np.int64) * USER_STEP
    serving = {"users": known, "top": top, "cold": top[:1], **model.film_arrays(film_ids(films))}
    model.save(folder, {"version": 1, "cold_lists": ["popular"]}, serving, {})
    return folder


def ratings(count: int, users: int, films: int = FILMS) -> Ratings:
    """Ratings in which every film occurs and some are far more popular than others."""
    rng = np.random.default_rng(0)
    skewed = np.minimum((rng.pareto(0.8, count) * films / 200).astype(np.int64), films - 1)
    skewed[:films] = np.arange(films)
    user = rng.integers(0, users, count)
    stars = np.clip(np.rint(3.4 + 0.4 * np.sin(skewed) + 0.3 * np.sin(user) + 0.7 * rng.standard_normal(count)), 1, 5)
    return Ratings(user.astype(np.int32), skewed.astype(np.int32), stars.astype(np.float32), np.arange(count, dtype=np.int64))
