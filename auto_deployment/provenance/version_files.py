"""The files of a version in git and DVC: commit, offsets, report, model, and the rows that the version added."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.model import md5_of
from auto_deployment.common.errors import RunError
from auto_deployment.common.process import CommandError, Commands
from auto_deployment.provenance import dvc_files
from auto_deployment.versioning import pointers
from auto_deployment.versioning.models import Models
from auto_deployment.versioning.repository import Places, tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FETCH_SECONDS = 900.0
CACHED = 3
PARTS = "parts"  # of the cache


class GoneError(RunError):
    """A file of a version is missing. The text says which file, and what to do."""


class Part(NamedTuple):
    """The rows that a version added to a table: the file's name and md5, as a git revision names them."""

    revision: str
    name: str
    md5: str


class VersionFiles:
    """The versions of one checkout.

    `cache` keeps the fetched models of the last few versions, in a folder for each version, and all fetched parts.
    """

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
        try:
            self._fetch(number, own, kept)
        except GoneError as error:
            if not self._is_removed(number):
                raise
            raise GoneError(
                f"the model of version {number} was removed from the DVC remote {self._dvc_remote}: only models of the last "
                "versions (KEEP_MODELS), of kept answers and of releases stay"
            ) from error
        if not is_model(kept, number, md5):
            raise GoneError(f"the model that DVC has of version {number} is not the one that answered (model_md5 {md5})")
        return kept

    def parts(self, number: int, table: str) -> list[Path]:
        """The files with the rows that versions 1 to `number` added to a table, in order. One command fetches what is missing.

        The current branch names a part that was converted to Parquet since. Raises GoneError for the first part that git does
        not name, that DVC cannot give, or whose md5 is not git's.
        """
        folder = Path(os.path.relpath(self.places.versioning, self.places.root))
        named = {each: pointers.in_revision(self.commands, each, folder, table) for each in (tag_of(number), "HEAD")}
        parts = [_part(named, table, each) for each in range(1, number + 1)]
        found = {part: path for part in parts if (path := self._here(part)) is not None}
        for revision in named:
            found |= self._fetch_parts([part for part in parts if part not in found and part.revision == revision])
        return [found[part] for part in parts]

    def _here(self, part: Part) -> Path | None:
        """The part's file in the working copy, if it is as git names it, or in the cache, which has what was compared."""
        own, kept = self.places.versioning / part.name, self._kept(part)
        if own.exists() and md5_of(own) == part.md5:
            return own
        return kept if kept.exists() else None

    def _kept(self, part: Part) -> Path:
        return self.cache / PARTS / f"{part.md5}{Path(part.name).suffix}"

    def _fetch_parts(self, parts: list[Part]) -> dict[Part, Path]:
        """Fetch parts of one revision into the cache. Raises GoneError."""
        if not parts:
            return {}
        files = [self.places.versioning / part.name for part in parts]
        (self.cache / PARTS).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.cache) as aside:
            command = dvc_files.command(self.places.root, parts[0].revision, self._dvc_remote, Path(aside), files)
            try:
                self.commands.run(*command, seconds=FETCH_SECONDS)
            except CommandError as error:
                raise GoneError(f"DVC cannot give the parts of {_shown(parts)}: {error.words}") from error
            for part in parts:
                if (md5 := md5_of(Path(aside) / part.name)) != part.md5:
                    raise GoneError(
                        f"DVC's {part.name} has md5 {md5}, but git names {part.md5}: "
                        "the file in the DVC remote is damaged: push it again from a copy"
                    )
            return {part: (Path(aside) / part.name).replace(self._kept(part)) for part in parts}

    def _fetch(self, number: int, own: Path, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        root = str(self.places.root)
        source = [root, str(own.relative_to(root)), "--rev", tag_of(number), "--out", str(to), "--remote", self._dvc_remote]
        try:
            self.commands.run(sys.executable, "-m", "dvc", "get", "--force", *source, seconds=FETCH_SECONDS)
        except CommandError as error:
            raise GoneError(f"DVC cannot give {own.name} of version {number}: {error.words}") from error
        self.clear_cache()

    def _is_removed(self, number: int) -> bool:
        """Whether DVC certainly has the version's model no more."""
        try:
            return Models(self.places, "", self._dvc_remote).is_removed(number)
        except RunError:
            return False

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


def _part(named: Mapping[str, Mapping[str, str]], table: str, number: int) -> Part:
    """The part of a version: as Parquet if a revision names it so, otherwise as CSV. Raises GoneError. Pure."""
    for name in (f"{table}_{number}.parquet", f"{table}_{number}.csv"):
        for revision, parts in named.items():
            if name in parts:
                return Part(revision, name, parts[name])
    raise GoneError(f"neither {' nor '.join(named)} names the part {number} of {table}: git fetch --tags")


def _shown(parts: Iterable[Part]) -> str:
    names = [part.name for part in parts]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
