"""What a version's metadata.json says about its data, its evaluation and its recipe."""

from __future__ import annotations

from typing import Any

from auto_deployment.common.json_file import Stored
from auto_deployment.evaluation.evaluate import Evaluation
from auto_deployment.evaluation.gate import Decision
from auto_deployment.ranking.model_selection import Choice


class DataFile(Stored):
    """A file that the model was trained on: its MD5, and its rows without the header."""

    md5: str
    rows: int


class RatingCounts(Stored):
    """The ratings: pairs of user and film, rows that rate a pair again, and the number of pairs by rating."""

    pairs: int
    duplicates: int
    distribution: dict[str, int]


class ModelMetrics(Stored):
    """The metrics of the candidate, and the decisions by them."""

    evaluation: Evaluation
    gate: Decision
    choice: Choice


class ModelMetadata(Stored):
    """The content of metadata.json, without `format` and `arrays`, which `app.model.save` adds.

    Times are ISO 8601 in UTC. `data` is by file name. `scale` is the lowest and the highest rating. `latest_films` is how many
    latest films of each user were trained on; None where all were. `fresh` is of `auto_deployment.ranking.list_weights`; None
    without a fresh part. `look_alikes` has the first ids of `look_alike_count`.
    """

    version: int
    trained_on: str
    data_creation: str
    data_md5: str
    data: dict[str, DataFile]
    git_commit: str
    random_state: int
    rmse: float
    metrics: ModelMetrics
    explore_share: float
    fresh: dict[str, Any] | None = None
    latest_films: int | None = None
    trainer: str
    ranker: str
    scale: tuple[float, float]
    cold_lists: tuple[str, ...]
    users: int
    films: int
    look_alikes: tuple[str, ...]
    look_alike_count: int = 0
    ratings: RatingCounts
    packages: dict[str, str]
