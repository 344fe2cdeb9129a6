"""The last version, as far as the data folder has it: its lists, and the version that last showed each film."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from app.model import ArtifactError, ServingModel, load_serving
from auto_deployment.common.json_file import read_typed, write_json_synced

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

log = logging.getLogger(__name__)

SHOWN = "shown.json"  # of a data folder


class Shown(BaseModel):
    """For each film the last version that had it in the first 20 places of a list. Versions before `since` are not counted."""

    since: int
    films: dict[str, int]

    def with_lists(self, version: int, films: tuple[str, ...], counts: npt.NDArray[np.int64]) -> Shown:
        """With a version's lists: `counts` says how many lists show each of `films`. A second call changes nothing."""
        return Shown(since=self.since, films=self.films | {films[at]: version for at in np.flatnonzero(counts).tolist()})

    def never(self, version: int, films: tuple[str, ...], versions: int) -> int | None:
        """How many of `films` no list of the last `versions` versions showed; None where one of these was not counted."""
        first = version - versions + 1
        return None if first < self.since else sum(self.films.get(film, -1) < first for film in films)


def load_previous(data: Path, version: int) -> ServingModel | None:
    """The model in the data folder where its version is below `version`; else None. A damaged model is logged."""
    try:
        model = load_serving(data / "model")
    except ArtifactError as error:
        if (data / "model").exists():
            log.warning("the lists are not compared with those of the last version: %s", error)
        return None
    return model if model.version < version else None


def read_shown(data: Path, version: int) -> Shown:
    """The record of shown films; without a file an empty one that begins with `version`. Raises StateError."""
    return read_typed(data / SHOWN, Shown) or Shown(since=version, films={})


def write_shown(data: Path, shown: Shown) -> None:
    """Replace the record."""
    write_json_synced(data / SHOWN, shown.model_dump())
