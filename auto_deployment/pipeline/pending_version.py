"""A version that is being made and published, as a file. Any later run can continue from the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from auto_deployment.common.json_file import read_typed, write_json_synced
from auto_deployment.ingestion.rows import Counts

if TYPE_CHECKING:
    from pathlib import Path

FILE = "release.json"

Stage: TypeAlias = Literal["begun", "committed", "pushed", "tracked"]


class PendingVersion(BaseModel):
    """Version `number`: the rows of each table from `starts` to `stops` (bytes), made by the code of commit `base`.

    `marks` say how far the version includes the stream. `lines`, `gaps` and `lag` describe the collection, for the report.
    """

    model_config = ConfigDict(extra="forbid")

    number: int
    base: str
    data_creation: str
    trained_on: str
    starts: dict[str, int]
    stops: dict[str, int]
    marks: dict[str, dict[str, Any]]
    lines: Counts
    gaps: list[dict[str, Any]]
    lag: int
    stage: Stage = "begun"

    def save(self, path: Path, stage: Stage) -> None:
        """Record that the version has come to `stage`."""
        self.stage = stage
        write_json_synced(path, self.model_dump())

    @staticmethod
    def load(path: Path) -> PendingVersion | None:
        """The version in the file; None where no version is pending. Raises StateError where the file cannot be read."""
        return read_typed(path, PendingVersion)
