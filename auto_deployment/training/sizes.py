"""Limits of size: from where on training works on a part of the data, and how much memory a training needs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.common.errors import RefusedError
from auto_deployment.common.memory import GB
from auto_deployment.training.spark.als import SparkTrainer
from auto_deployment.training.spark.session import DRIVER_SHARE

if TYPE_CHECKING:
    from auto_deployment.training.dataset import Dataset

# `TRAINER=auto` takes Surprise up to this number of ratings: a fit takes 26 s and 0.3 GB, and a run fits 12 times.
SURPRISE_MOST = 1_000_000
# Ratings plus watches. A larger table is evaluated on a sample of its users with about this number of rows.
EVALUATED_ROWS = 2_000_000
# Ratings plus watches. Of a larger table training takes each user's latest films.
WHOLE_PAIRS = 20_000_000

# Bytes, as measured (docs/models.md): Python with its libraries; a row of ratings or watches as arrays and in the rankers; a
# film that a user has seen.
BASE_BYTES = 350_000_000
ROW_BYTES = 60
SEEN_BYTES = 4
# By trainer: bytes a rating, and bytes a user or film.
FIT_BYTES = {"surprise": (300, 1_700), "sgd": (24, 200), "spark": (20, 200)}
# A number of the item matrix, while it is inverted and while it is kept.
INVERTED_BYTES, KEPT_BYTES = 12, 4


def needed_bytes(trainer: str, ratings: int, watches: int, users: int, films: int, seen: int = 0, matrix_films: int = 0) -> int:
    """The memory of a run that trains on so many rows.

    `seen` is the number of seen films, where those are kept apart, `matrix_films` that of the films in the item matrix.
    """
    per_rating, per_side = FIT_BYTES[trainer]
    fit = per_rating * ratings + per_side * (users + films) + KEPT_BYTES * matrix_films**2
    rows = BASE_BYTES + ROW_BYTES * (ratings + watches) + SEEN_BYTES * seen
    return rows + max(fit, INVERTED_BYTES * matrix_films**2)


def require_memory(trainer: str, dataset: Dataset, memory_gb: float, latest_films: int, matrix_films: int = 0) -> None:
    """Raises RefusedError where a training on the data set needs more than `memory_gb`, of which Spark's driver has a half.

    `matrix_films` is as in `needed_bytes`.
    """
    seen = 0 if dataset.seen is None else len(dataset.seen.films)
    ratings, watches = len(dataset.ratings), len(dataset.watches)
    needed = needed_bytes(trainer, ratings, watches, len(dataset.users), len(dataset.films), seen, matrix_films) / GB
    given = f"MEMORY_GB is {memory_gb:.1f}"
    if trainer == SparkTrainer.name:
        memory_gb *= 1 - DRIVER_SHARE
        given += f", which leaves {memory_gb:.1f} next to Spark's driver"
    if needed <= memory_gb:
        return
    advice = [] if trainer == "sgd" else ["TRAINER=sgd or TRAINER=auto"]
    advice += [] if dataset.seen is None else [f"LATEST_FILMS below {latest_films}"]
    raise RefusedError(
        f"training {ratings:,} ratings and {watches:,} watches by {trainer} needs about {needed:.1f} GB, and "
        f"{given}: set {''.join(f'{each}, or ' for each in advice)}a higher MEMORY_GB"
    )
