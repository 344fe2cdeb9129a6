"""What git and DVC keep of a version: its commit, its offsets and report, its model, the rows that it added."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

from auto_deployment.common.errors import RunError
from auto_deployment.common.process import CommandError, Commands
from auto_deployment.versioning.repository import Places, tag

if TYPE_CHECKING:
    from pathlib import Path

FETCH_SECONDS = 900.0
CACHED = 3


class GoneError(RunError):
    """A part of a version is missing; the text says which, and what to do."""


class VersionFiles:
    """The versions of one checkout. What is fetched stays in `cache`, a folder a version, of which the newest few are kept."""

    def __init__(self, places: Places, dvc_remote: str, cache: Path) -> None:
        self.places = places
        self.cache = cache
        self._dvc_remote = dvc_remote
        self.commands = Commands(places.root)
        self._in_use: set[int] = set()

    def is_released(self, number: int) -> bool:
        """Whether git has the version's tag."""
        return self.commit(number) is not None

    def commit(self, number: int) -> str | None:
        """The commit of the version's tag; None where there is none."""
        try:
            return self.commands.run("git", "rev-parse", "--quiet", "--verify", f"refs/tags/{tag(number)}^{{commit}}")
        except CommandError:
            return None

    def recorded(self, number: int, path: Path) -> dict[str, Any] | None:
        """A JSON file as the version's commit has it; None where it has none."""
        try:
            told = self.commands.run("git", "show", f"{tag(number)}:{path.relative_to(self.places.root)}")
            held: dict[str, Any] = json.loads(told)
        except (CommandError, ValueError):
            return None
        return held

    def model(self, number: int, md5: str | None) -> Path:
        """The folder of the version's model: the checkout's own where it is that one, else fetched by DVC.

        Raises GoneError if the file is missing, or has another `md5` than recorded.
        """
        self._in_use.add(number)
        own, kept = self.places.data / "model", self.cache / str(number) / "model"
        for folder in (own, kept):
            if is_model(folder, number, md5):
                return folder
        if not self.is_released(number):
            raise GoneError(f"the model of version {number} is not in {own}, and git has no tag {tag(number)} to fetch it by")
        shutil.rmtree(kept, ignore_errors=True)
        self._fetch(number, own, kept)
        if not is_model(kept, number, md5):
            raise GoneError(f"the model that DVC has of version {number} is not the one that answered (model_md5 {md5})")
        return kept

    def part(self, number: int, table: str) -> Path:
        """The rows that a version added to a table. Raises GoneError if one is missing."""
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
        source = [root, str(own.relative_to(root)), "--rev", tag(number), "--out", str(to), "--remote", self._dvc_remote]
        try:
            self.commands.run(sys.executable, "-m", "dvc", "get", "--force", *source, seconds=FETCH_SECONDS)
        except CommandError as error:
            raise GoneError(f"DVC cannot give {own.name} of version {number}: {error.words}") from error
        self.clear_cache()

    def clear_cache(self) -> None:
        """Remove the folders of all but the newest few versions, and of those whose model was asked for here."""
        folders = sorted((each for each in self.cache.glob("*/") if each.name.isdigit()), key=lambda each: each.stat().st_mtime)
        for folder in folders[:-CACHED]:
            if int(folder.name) not in self._in_use:
                shutil.rmtree(folder, ignore_errors=True)


def is_model(folder: Path, number: int, md5: str | None) -> bool:
    """Whether the folder holds that version's model, by the md5 of its metadata where one is known."""
    try:
        content = (folder / "metadata.json").read_bytes()
        version = json.loads(content)["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return version == number and md5 in {None, hashlib.md5(content, usedforsecurity=False).hexdigest()}
