"""The checkout to check: the version that git names, and whether its files have the checksums in git."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from auto_deployment.common.errors import RefusedError
from auto_deployment.common.json_file import read_json
from auto_deployment.common.process import Commands
from auto_deployment.versioning import pointers
from auto_deployment.versioning.repository import TABLES, remove_stale_locks, tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from auto_deployment.common.settings import Settings
    from auto_deployment.versioning.repository import Places

STATUS_SECONDS = 1800.0
PART = re.compile(r"[a-z_]+_([1-9]\d*)\.(?:csv|parquet)")


class Part(NamedTuple):
    """The rows that a version added to a table. `md5` and `size` (in bytes) are those in git."""

    path: Path
    md5: str
    size: int


@dataclass(frozen=True)
class Checkout:
    """A checkout. `number` is the version in version.txt, or 0 before the first version. `everything` also reads old parts."""

    places: Places
    settings: Settings
    number: int
    everything: bool = False

    @property
    def model(self) -> Path:
        """The artifact's folder."""
        return self.places.data / "model"

    @cached_property
    def parts(self) -> dict[str, dict[int, Part]]:
        """For each table the parts that git names, by version, ascending. A converted part counts as Parquet alone.

        Raises VersioningError for a damaged `.dvc` file.
        """
        return {table: self._parts(table) for table in TABLES}

    def _parts(self, table: str) -> dict[int, Part]:
        folder, found = self.places.versioning, {}
        for name, pointer in pointers.here(folder, table).items():  # sorted: .csv comes before .parquet
            if match := PART.fullmatch(name):
                found[int(match[1])] = Part(folder / name, *pointer)
        return dict(sorted(found.items()))

    def parts_as_tagged(self, number: int) -> dict[str, str]:
        """The names of the parts in the commit of a version's tag, with their md5; none without the tag."""
        folder, commands = self.places.versioning.relative_to(self.places.root), Commands(self.places.root)
        tables = [pointers.in_revision(commands, tag_of(number), folder, table) for table in TABLES]
        return {name: md5 for table in tables for name, md5 in table.items()}

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
        pointer_files = [f"{path}.dvc" for path in listed]
        absent = [self.shown(path) for path in listed if not path.exists()]
        if absent:
            raise RefusedError(f"missing: {_some(absent)}; fetch it with --pull")
        remove_stale_locks(self.places.root)
        status = Commands(self.places.root).run(
            sys.executable, "-m", "dvc", "status", "--json", *pointer_files, seconds=STATUS_SECONDS
        )
        different = sorted(json.loads(status))
        if different:
            raise RefusedError(f"different from the checksum in git: {_some(different)}; fetch it again with --pull")


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
