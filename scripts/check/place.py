"""The checkout that is looked at: which version git names there, and whether the files are the ones that git means."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auto_deployment.common.errors import RefusedError
from auto_deployment.common.json_file import read_json
from auto_deployment.common.process import Commands
from auto_deployment.pipeline.restore import versions_of
from auto_deployment.versioning.repository import TABLES, remove_stale_locks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from auto_deployment.common.settings import Settings
    from auto_deployment.versioning.repository import Places

STATUS_SECONDS = 1800.0


@dataclass(frozen=True)
class Place:
    """A checkout whose version.txt says `number`; 0 before the first version."""

    places: Places
    settings: Settings
    number: int

    @property
    def model(self) -> Path:
        """The artifact's folder."""
        return self.places.data / "model"

    def parts(self, table: str | None = None) -> list[Path]:
        """The parts of all versions that git names, in order; of one table, or of all."""
        numbers = versions_of(self.places)
        return [self.places.part(each, number) for each in TABLES if table in (None, each) for number in numbers]

    def read(self, path: Path) -> dict[str, Any]:
        """A JSON file of the version. Raises RefusedError where it is not there."""
        told = read_json(path)
        if told is None:
            raise RefusedError(f"{self.shown(path)} is not there, but version {self.number} must have it: was it left out?")
        return told

    def shown(self, path: Path) -> str:
        """A path as a person reads it."""
        return str(path.relative_to(self.places.root)) if path.is_relative_to(self.places.root) else str(path)

    def git(self, *arguments: str) -> str:
        """What git says. Raises CommandError with git's own words."""
        return Commands(self.places.root).run("git", *arguments)

    def require_as_named(self, paths: Iterable[Path]) -> None:
        """Hold files against the checksums in git. Raises RefusedError naming those that are missing or different."""
        listed = list(paths)
        pointers = [f"{path}.dvc" for path in listed]
        absent = [self.shown(path) for path in listed if not path.exists()]
        if absent:
            raise RefusedError(f"not there: {_some(absent)}; fetch it with --pull")
        remove_stale_locks(self.places.root)
        status = Commands(self.places.root).run(
            sys.executable, "-m", "dvc", "status", "--json", *pointers, seconds=STATUS_SECONDS
        )
        different = sorted(json.loads(status))
        if different:
            raise RefusedError(f"not as git names it: {_some(different)}; fetch it again with --pull")


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
