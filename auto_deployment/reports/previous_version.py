"""The last version as the working copy still has it: its lists, and when each film was last in a list."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from app.model import ArtifactError, ServingModel, load_serving
from auto_deployment.common.json_file import read_json, write_json_synced

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

log = logging.getLogger(__name__)

SHOWN = "shown.json"  # of a data folder


class Shown(NamedTuple):
    """The version whose lists each film last stood in (first 20 places), counted from version `since` on."""

    since: int
    films: Mapping[str, int]

    def with_lists(self, version: int, films: tuple[str, ...], counts: npt.NDArray[np.int64]) -> Shown:
        """With a version's lists, which show each of `films` so many times. Doing it twice changes nothing."""
        return Shown(self.since, {**self.films, **{films[at]: version for at in np.flatnonzero(counts).tolist()}})

    def never(self, version: int, films: tuple[str, ...], versions: int) -> int | None:
        """How many of `films` no list of the last so many versions has shown; None where they were not all counted."""
        first = version - versions + 1
        return None if first < self.since else sum(self.films.get(film, -1) < first for film in films)


def read_model(data: Path, version: int) -> ServingModel | None:
    """The model of a version before `version` that lies in the data folder; None, with the reason in the log, without one."""
    try:
        model = load_serving(data / "model")
    except ArtifactError as error:
        if (data / "model").exists():
            log.warning("the last version's lists cannot be compared: %s", error)
        return None
    return model if model.version < version else None


def read_shown(data: Path, version: int) -> Shown:
    """When films were last shown; from `version` on where nothing is on record."""
    told: dict[str, Any] = read_json(data / SHOWN) or {"since": version, "films": {}}
    return Shown(int(told["since"]), told["films"])


def write_shown(data: Path, shown: Shown) -> None:
    """Put it on record."""
    write_json_synced(data / SHOWN, shown._asdict())
