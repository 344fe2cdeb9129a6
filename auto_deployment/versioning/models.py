"""The models of all versions: their objects in DVC, what git's branches and tags name, and the removal of a model.

A removal can be killed at any moment: a file names its objects until they have gone, and the next removal completes it.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.common.json_file import read_json, write_json_synced
from auto_deployment.common.process import CommandError, Commands
from auto_deployment.versioning.repository import DVC_STORE, PUSH_SECONDS, VERSION_TAG, VersioningError, tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from auto_deployment.versioning.repository import Places

# The objects of a removal that has begun, in the data folder.
FILE = "model_removal.json"
OBJECT = re.compile(r"\bmd5: ([0-9a-f]{32}(?:\.dir)?)$", re.MULTILINE)
KINDS = {"heads": "branch", "tags": "tag", "remotes": "branch"}
SIZE = re.compile(r"\bsize: (\d+)$")


@dataclass(frozen=True)
class Model:
    """The model of a version. `folder` is its object in DVC, which lists its files; `size` has all of them, in bytes."""

    number: int
    folder: str
    size: int


class References(NamedTuple):
    """What branches and tags of git name, here and in the git remote, other than the tags of this branch's versions.

    `objects`: the objects of all `.dvc` files. `models`: where a model's folder is named. `pushed`: the versions in the remote.
    """

    objects: set[str]
    models: dict[str, str]
    pushed: set[int]


class Models:
    """The models of one checkout's versions. Each method raises CommandError where git or a remote fails."""

    def __init__(self, places: Places, git_remote: str, dvc_remote: str) -> None:
        self._places = places
        self._git_remote = git_remote
        self._dvc_remote = dvc_remote
        self._file = places.data / FILE
        self._commands = Commands(places.root, apart=True)

    @property
    def _pointer(self) -> str:
        """The file in git that names the model. Raises VersioningError for a data folder that no commit can name."""
        if not self._places.data.is_relative_to(self._places.root):
            raise VersioningError(
                f"{self._places.data} (DATA_DIR) is not in the checkout, {self._places.root}: it has no versions"
            )
        return str((self._places.data / "model.dvc").relative_to(self._places.root))

    def published(self) -> list[Model]:
        """The models of the versions that have a tag on this branch, ascending."""
        tags = self._git("tag", "--list", "--merged", "HEAD", "model-*").split()
        found: dict[str, list[str]] = {tag: [] for tag in tags if VERSION_TAG.fullmatch(tag)}
        for tag, _, line in self._lines_of(found, ["md5: ", "size: "], [self._pointer]):
            found[tag].append(line)
        models = [_model(int(tag.partition("-")[2]), lines) for tag, lines in found.items()]
        return sorted((each for each in models if each is not None), key=lambda model: model.number)

    def references(self, published: Iterable[Model]) -> References:
        """What other branches and tags name than the tags of `published`, after a fetch from the git remote."""
        tags = {f"refs/tags/{tag_of(model.number)}" for model in published}
        here = _refs(self._git("for-each-ref", "--format=%(objectname) %(refname)"))
        theirs = _refs(self._git("ls-remote", "--refs", "--heads", "--tags", self._git_remote, seconds=PUSH_SECONDS))
        if strange := [ref for commit, ref in theirs if commit not in {known for known, _ in here}]:
            self._git("fetch", "--quiet", "--no-prune", "--no-tags", self._git_remote, *strange, seconds=PUSH_SECONDS)
        own = {(commit, ref) for commit, ref in here if ref in tags}
        names = {commit: f"{_name(ref)} of {self._git_remote}" for commit, ref in theirs if (commit, ref) not in own}
        # What the remote's branches are, the remote says itself: a tracking branch may be of one that was deleted.
        tracking = f"refs/remotes/{self._git_remote}/"
        names |= {commit: _name(ref) for commit, ref in here if ref not in tags and not ref.startswith(tracking)}
        for line in self._git("worktree", "list", "--porcelain").splitlines():
            if line.startswith("HEAD "):
                names.setdefault(line.split()[1], "a checked out commit")
        objects: set[str] = set()
        models: dict[str, str] = {}
        for commit, path, line in self._lines_of(names, ["md5: "], ["*.dvc", "*dvc.lock"]):
            if found := OBJECT.search(line):
                objects.add(found[1])
                if path == self._pointer:
                    models.setdefault(found[1], names[commit])
        for path, each in self._in_working_copy():
            objects.add(each)
            if path == self._pointer:
                models.setdefault(each, "the working copy")
        pushed = {int(found[1]) for _, ref in theirs if (found := VERSION_TAG.fullmatch(ref.removeprefix("refs/tags/")))}
        return References(objects, models, pushed)

    def files(self, folders: Iterable[str]) -> dict[str, set[str]]:
        """The objects of the files of each folder that DVC still has, in the cache or the remote."""
        wanted = sorted(set(folders))
        listed = json.loads(self._store("listings", *wanted)) if wanted else {}
        return {folder: set(files) for folder, files in listed.items() if files is not None}

    def is_removed(self, number: int) -> bool:
        """Whether git has the version's tag, but DVC no longer its model."""
        pointer = self._git("show", f"{tag_of(number)}:{self._pointer}")
        model = _model(number, pointer.splitlines())
        return model is not None and not self.files([model.folder])

    def unfinished(self) -> int | None:
        """The version whose removal has begun and not ended."""
        begun = read_json(self._file)
        return None if begun is None else int(begun["version"])

    def finish(self, kept: AbstractSet[str]) -> None:
        """Complete a removal that has begun, but for the objects that are `kept` now."""
        begun = read_json(self._file)
        if begun is not None:
            self._remove({str(each) for each in begun["objects"]} - kept)

    def remove(self, number: int, objects: AbstractSet[str]) -> None:
        """Remove the objects of a version's model from the DVC remote and the cache."""
        write_json_synced(self._file, {"version": number, "objects": sorted(objects)})
        self._remove(objects)

    def _remove(self, objects: AbstractSet[str]) -> None:
        if objects:
            self._store("remove", *sorted(objects))
        self._file.unlink()

    def _in_working_copy(self) -> Iterable[tuple[str, str]]:
        """The pointers on the disk and their objects: a version that is being made is in no commit yet."""
        root = self._places.root
        for path in (root / self._pointer, *self._places.versioning.glob("*.dvc")):
            if path.exists() and (found := OBJECT.search(path.read_text(encoding="utf-8"))):
                yield str(path.relative_to(root)), found[1]

    def _lines_of(self, names: Iterable[str], words: Iterable[str], paths: Iterable[str]) -> Iterable[tuple[str, str, str]]:
        """The lines that have one of the words, in those files of those commits: the commit's name, the file and the line."""
        commits = list(names)
        if not commits:
            return
        patterns = [option for word in words for option in ("-e", word)]
        try:
            found = self._git("grep", "--null", "--no-line-number", "--fixed-strings", *patterns, *commits, "--", *paths)
        except CommandError as error:
            raise VersioningError(f"git finds no .dvc file in {', '.join(commits[:3])}: {error.words}") from error
        for line in found.splitlines():
            place, _, text = line.partition("\0")
            commit, _, path = place.partition(":")
            yield commit, path, text

    def _store(self, action: str, *names: str) -> str:
        command = [sys.executable, "-P", str(DVC_STORE), action, self._dvc_remote, *names]
        return self._commands.run(*command, seconds=PUSH_SECONDS)

    def _git(self, *arguments: str, seconds: float = 60.0) -> str:
        return self._commands.run("git", *arguments, seconds=seconds)


def _model(number: int, pointer: Iterable[str]) -> Model | None:
    """The model in the lines of a `.dvc` file; None where they name no folder."""
    lines = list(pointer)
    folder = next((found[1] for found in map(OBJECT.search, lines) if found and found[1].endswith(".dir")), None)
    size = next((int(found[1]) for found in map(SIZE.search, lines) if found), 0)
    return None if folder is None else Model(number, folder, size)


def _refs(listed: str) -> list[tuple[str, str]]:
    """The commits or tag objects, and the references to them, of git's lines."""
    return [(commit, ref) for commit, ref in (line.split(maxsplit=1) for line in listed.splitlines())]


def _name(ref: str) -> str:
    """A reference as people read it."""
    kind, _, name = ref.removeprefix("refs/").partition("/")
    return f"{KINDS.get(kind, kind)} {name}"
