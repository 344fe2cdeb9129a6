"""The checkout to check: the version that git names, and whether its files have the checksums in git."""

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
class Checkout:
    """A checkout. `number` is the version in version.txt, or 0 before the first version."""

    places: Places
    settings: Settings
    number: int

    @property
    def model(self) -> Path:
        """The artifact's folder."""
        return self.places.data / "model"

    def parts(self, table: str | None = None) -> list[Path]:
        """The parts of all versions that git names, in order, for one table or for all tables."""
        numbers = versions_of(self.places)
        return [self.places.part(each, number) for each in TABLES if table in (None, each) for number in numbers]

    def read(self, path: Path) -> dict[str, Any]:
        """A JSON file of the version. Raises RefusedError if it does not exist."""
        content = read_json(path)
        if content is None:
            raise RefusedError(f"{self.shown(path)} is missing, but version {self.number} must have it: add it to the commit")
        return content

    def shown(self, path: Path) -> str:
        """A path for a message: relative to the checkout's root if possible."""
        return str(path.relative_to(self.places.root)) if path.is_relative_to(self.places.root) else str(path)

    def git(self, *arguments: str) -> str:
        """The output of a git command. Raises CommandError with git's message."""
        return Commands(self.places.root).run("git", *arguments)

    def require_as_named(self, paths: Iterable[Path]) -> None:
        """Compare files with their checksums in git. Raises RefusedError with the names of missing and different files."""
        listed = list(paths)
        pointers = [f"{path}.dvc" for path in listed]
        absent = [self.shown(path) for path in listed if not path.exists()]
        if absent:
            raise RefusedError(f"missing: {_some(absent)}; fetch it with --pull")
        remove_stale_locks(self.places.root)
        status = Commands(self.places.root).run(
            sys.executable, "-m", "dvc", "status", "--json", *pointers, seconds=STATUS_SECONDS
        )
        different = sorted(json.loads(status))
        if different:
            raise RefusedError(f"different from the checksum in git: {_some(different)}; fetch it again with --pull")


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
