"""A version that is being published, as a file: its data and its stage. Any later run can continue from the file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from auto_deployment.common.json_file import StateError, read_json, write_json_synced
from auto_deployment.ingestion.rows import Counts

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "release.json"

Stage: TypeAlias = Literal["begun", "committed", "pushed", "tracked"]


@dataclass
class Release:
    """Version `number`: the rows of each table from `starts` to `stops` (bytes), made by the code of commit `base`.

    `marks` say how far the stream is in it. `lines`, `gaps` and `lag` are what the report says about its collection.
    """

    number: int
    base: str
    data_creation: str
    trained_on: str
    starts: dict[str, int]
    stops: dict[str, int]
    marks: dict[str, dict[str, Any]]
    lines: dict[str, Any]
    gaps: list[dict[str, Any]]
    lag: int
    stage: Stage = "begun"

    @property
    def counts(self) -> Counts:
        """What became of the lines that came in since the last version."""
        return Counts.from_dict(self.lines)

    def save(self, path: Path, stage: Stage) -> None:
        """Note that the release has come to `stage`."""
        self.stage = stage
        write_json_synced(path, asdict(self))

    @staticmethod
    def load(path: Path) -> Release | None:
        """The release in the file; None where none is under way. Raises StateError where it cannot be read."""
        told = read_json(path)
        try:
            return None if told is None else Release(**told)
        except TypeError as error:
            raise StateError(f"{path}: not a release ({error})") from error
