"""The files of a version in git and DVC: commit, offsets, report, model, and the rows that the version added."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

from app.model import md5_of
from auto_deployment.common.errors import RunError
from auto_deployment.common.process import CommandError, Commands
from auto_deployment.versioning.repository import Places, tag_of

if TYPE_CHECKING:
    from pathlib import Path

FETCH_SECONDS = 900.0
CACHED = 3


class GoneError(RunError):
    """A file of a version is missing. The text says which file, and what to do."""


class VersionFiles:
    """The versions of one checkout. `cache` keeps the fetched files of the last few versions, in a folder for each version."""

    def __init__(self, places: Places, dvc_remote: str, cache: Path) -> None:
        self.places = places
        self.cache = cache
        self._dvc_remote = dvc_remote
        self.commands = Commands(places.root)
        self._in_use: set[int] = set()

    def is_published(self, number: int) -> bool:
        """Whether git has the version's tag."""
        return self.commit(number) is not None

    def commit(self, number: int) -> str | None:
        """The commit of the version's tag. None without a tag."""
        try:
            return self.commands.run("git", "rev-parse", "--quiet", "--verify", f"refs/tags/{tag_of(number)}^{{commit}}")
        except CommandError:
            return None

    def committed(self, number: int, path: Path) -> dict[str, Any] | None:
        """A JSON file in the version's commit. None if the commit has no such file."""
        try:
            text = self.commands.run("git", "show", f"{tag_of(number)}:{path.relative_to(self.places.root)}")
            content: dict[str, Any] = json.loads(text)
        except (CommandError, ValueError):
            return None
        return content

    def model(self, number: int, md5: str | None) -> Path:
        """The folder of the version's model: the checkout's own model if it is this version, otherwise DVC's.

        Raises GoneError if the model is missing, or has another `md5`.
        """
        self._in_use.add(number)
        own, kept = self.places.data / "model", self.cache / str(number) / "model"
        for folder in (own, kept):
            if is_model(folder, number, md5):
                return folder
        if not self.is_published(number):
            raise GoneError(
                f"the model of version {number} is not in {own}, and git has no tag {tag_of(number)} to fetch it by"
            )
        shutil.rmtree(kept, ignore_errors=True)
        self._fetch(number, own, kept)
        if not is_model(kept, number, md5):
            raise GoneError(f"the model that DVC has of version {number} is not the one that answered (model_md5 {md5})")
        return kept

    def part(self, number: int, table: str) -> Path:
        """The file of the rows that a version added to a table. Raises GoneError if the file is missing."""
        own = self.places.part(table, number)
        kept = self.cache / str(number) / own.name
        for path in (own, kept):
            if path.exists():
                return path
        self._fetch(number, own, kept)
        return kept

    def _fetch(self, number: int, own: Path, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        root = str(self.places.root)
        source = [root, str(own.relative_to(root)), "--rev", tag_of(number), "--out", str(to), "--remote", self._dvc_remote]
        try:
            self.commands.run(sys.executable, "-m", "dvc", "get", "--force", *source, seconds=FETCH_SECONDS)
        except CommandError as error:
            raise GoneError(f"DVC cannot give {own.name} of version {number}: {error.words}") from error
        self.clear_cache()

    def clear_cache(self) -> None:
        """Remove all folders but those of the last few versions, and those whose model this process uses."""
        folders = sorted((each for each in self.cache.glob("*/") if each.name.isdigit()), key=lambda each: each.stat().st_mtime)
        for folder in folders[:-CACHED]:
            if int(folder.name) not in self._in_use:
                shutil.rmtree(folder, ignore_errors=True)


def is_model(folder: Path, number: int, md5: str | None) -> bool:
    """Whether the folder holds the model of version `number`. A known `md5` must be the md5 of its metadata."""
    path = folder / "metadata.json"
    try:
        return json.loads(path.read_bytes())["version"] == number and md5 in {None, md5_of(path)}
    except (OSError, ValueError, KeyError, TypeError):
        return False
