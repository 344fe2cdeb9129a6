"""Versions of data and model: numbered parts under DVC, a commit with exactly the files named, an annotated tag, a push.

Every function can be run again after a kill at any moment and ends where it would have ended.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.model import VERSION_FILE, ArtifactError, read_version
from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import sync_folder, write_synced
from auto_deployment.common.process import CommandError, Commands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

log = logging.getLogger(__name__)

PUSH_TRIES = 5
PUSH_SECONDS = 600.0
# The longest wait for a git at work in the checkout, such as a garbage collection.
LOCK_SECONDS = 10.0
# The commit of a version that is not pushed is among these latest ones.
LATEST_COMMITS = 1000
# In git's folder while we rebase: we do not abort the rebase of somebody else.
REBASES = "model-version-rebases"
VERSION_TAG = re.compile(r"model-(0|[1-9]\d*)")
RATINGS, WATCHES = "clean_rating", "clean_watch"
# The tables, with the ending of their parts.
TABLES = {RATINGS: ".csv", WATCHES: ".parquet"}
# Parts of watches by software before 1.1. The next version's commit replaces them.
EARLIER_PART = re.compile(rf"{WATCHES}_(\d+)\.csv\.dvc")
# What DVC's command line lacks. Run by its path: the checkout may hold other code than the one that runs.
DVC_STORE = Path(__file__).with_name("dvc_store.py")
# What DVC's table of locks holds when nobody uses DVC.
AT_REST: tuple[object, ...] = ({}, {"read": {}}, {"write": {}}, {"read": {}, "write": {}})
# Git's own lines for a branch that moved before or during the push. The words of hooks do not count.
TOO_LATE = re.compile(
    r"! \[rejected\]|! \[remote rejected\][^;]*\((fetch first|non-fast-forward|cannot lock ref|atomic transaction failed)"
)


class VersioningError(RunError):
    """The tree, the branch, the remote or version.txt is not as publishing needs it. The message says what to do."""


class OtherHostError(VersioningError):
    """Another host published a version of the same number."""


@dataclass(frozen=True)
class Places:
    """Where a checkout keeps its versions. `root` is the checkout, `data` its data folder."""

    root: Path
    data: Path

    @property
    def version_file(self) -> Path:
        """One integer: the last version."""
        return self.data / VERSION_FILE

    @property
    def versioning(self) -> Path:
        """The parts, the reports and the stream's offsets."""
        return self.data / "versioning"

    @property
    def offsets(self) -> Path:
        """The stream's offsets up to which the last version has the data."""
        return self.versioning / "offsets.json"

    def part(self, table: str, number: int) -> Path:
        """The rows that a version added to a table."""
        return self.versioning / f"{table}_{number}{TABLES[table]}"

    def earlier_part(self, number: int) -> Path:
        """The watches that a version added, as software before 1.1 kept them."""
        return self.versioning / f"{WATCHES}_{number}.csv"

    def report(self, number: int) -> Path:
        """The report of a version."""
        return self.versioning / f"report_{number}.json"

    def beyond(self, number: int) -> list[Path]:
        """The report of a version beyond its accuracy, and its page."""
        return [self.versioning / f"beyond_{number}{kind}" for kind in (".json", ".html")]

    def tracked(self, number: int) -> list[str]:
        """The files of a version's commit, relative to the checkout, in a fixed order."""
        parts = [Path(f"{self.part(table, number)}.dvc") for table in TABLES]
        files = [self.version_file, self.data / "model.dvc", *parts, self.report(number), *self.beyond(number), self.offsets]
        return [str(path.relative_to(self.root)) for path in files]


def message(number: int) -> str:
    """The commit message of a version."""
    return f"Data and Model version update: [{number}]"


def tag_of(number: int) -> str:
    """The tag of a version in git, and of its image."""
    return f"model-{number}"


class Versions:
    """The versions of one checkout."""

    def __init__(self, places: Places, git_remote: str, branch: str, dvc_remote: str) -> None:
        self.places = places
        self._git_remote = git_remote
        self._branch = branch
        self._dvc_remote = dvc_remote
        self._commands = Commands(places.root, apart=True)

    def check_tree(self, unfinished: int | None) -> None:
        """Refuse a checkout from which nothing can be published, before the run takes any time.

        `unfinished` is the number of a version that an earlier run began: its files may differ from what git has. Raises
        VersioningError with what to do.
        """
        if not self.places.data.is_relative_to(self.places.root):
            raise VersioningError(
                f"{self.places.data} (DATA_DIR) is not in the checkout, {self.places.root}: no commit could name it"
            )
        self._mend_after_kill()
        branch = self._ask("symbolic-ref", "--quiet", "--short", "HEAD", otherwise="")
        if branch != self._branch:
            where = f"on {branch}" if branch else "at a detached HEAD"
            raise VersioningError(f"the checkout is {where}, not on {self._branch} (GIT_BRANCH): git switch {self._branch}")
        self._check_identity()
        if self._git_remote not in self._git("remote").split():
            raise VersioningError(
                f"there is no git remote {self._git_remote} (GIT_REMOTE): git remote add {self._git_remote} URL"
            )
        if self._dvc_remote not in self._dvc_remotes():
            raise VersioningError(
                f"there is no DVC remote {self._dvc_remote} (DVC_REMOTE): dvc remote add {self._dvc_remote} URL"
            )
        self._check_dirt(unfinished)
        self._check_tags()

    def current(self) -> int:
        """See `current_version`."""
        return current_version(self.places.data)

    def head(self) -> str:
        """The commit that is checked out."""
        return self._git("rev-parse", "HEAD")

    def is_committed(self, number: int) -> bool:
        """Whether one of the branch's latest commits is that version's."""
        return message(number) in self._latest_commits()

    def check_own(self, number: int, marks: Mapping[str, Mapping[str, object]]) -> None:
        """Raises OtherHostError where the branch's version `number` was made by another host: it ends at other `marks`."""
        offsets = json.loads(self._ask("show", f"HEAD:{self.places.tracked(number)[-1]}", otherwise="{}"))
        if offsets.get("version") == number and offsets["marks"] != marks:
            raise OtherHostError(
                f"{self._branch} has version {number} from another host, and this one was making it; "
                f"git reset --hard, rm {self.places.data}/release.json, and python -m auto_deployment.restore take it over"
            )

    def is_tagged(self, number: int) -> bool:
        """Whether the version has its tag here."""
        return bool(self._ask("rev-parse", "--quiet", "--verify", f"refs/tags/{tag_of(number)}", otherwise=""))

    def commit(self, number: int) -> None:
        """Put parts and model under DVC, commit exactly the version's files, and tag the commit."""
        if not self.is_committed(number):
            model, earlier = self.places.data / "model", self.earlier_parts()
            converted = [self.places.part(WATCHES, each) for each in earlier]
            self._run_dvc("add", *(str(path) for path in [model, *self._parts(number), *converted]))
            for each in earlier:
                Path(f"{self.places.earlier_part(each)}.dvc").unlink(missing_ok=True)
            files = [*self.places.tracked(number), *self._converted(earlier)]
            self._git("add", "--force", "--all", "--", *files)
            self._git("commit", "--quiet", "--no-verify", "-m", message(number), "--", *files)
        if not self.is_tagged(number):
            # Somebody may have committed on top since a run was killed right here.
            self._git("tag", "--annotate", tag_of(number), "-m", message(number), self._latest_commits()[message(number)])

    def discard(self, number: int) -> None:
        """Remove what was written of a version without a commit; restore the last model where the cache has it."""
        known = self._known_files()
        files = [*self.places.tracked(number), *self._converted(self.earlier_parts())]
        self._git("reset", "--quiet", "--", *files)
        for path in files:
            if path in known:
                self._git("checkout", "--quiet", "HEAD", "--", path)
            else:
                (self.places.root / path).unlink(missing_ok=True)
        for part in self._parts(number):
            part.unlink(missing_ok=True)
        pointer = self.places.data / "model.dvc"
        if str(pointer.relative_to(self.places.root)) in known:
            try:
                self._run_dvc("checkout", "--force", str(pointer))
            except CommandError as error:
                log.warning("the last version's model is not put back: %s", error)

    def unpushed(self) -> list[int]:
        """The versions whose tags the remote does not have, ascending. Raises CommandError where the remote is away."""
        listed = self._git("ls-remote", "--tags", "--refs", self._git_remote, "model-*", seconds=PUSH_SECONDS)
        theirs = {line.rpartition("/")[2] for line in listed.splitlines()}
        return [number for number in self._tagged() if tag_of(number) not in theirs]

    def push(self) -> None:
        """Push data and models to the DVC remote, then commits and tags to the git remote, all of them or none.

        If another push came first, this fetches, rebases and tries again. Raises CommandError where a remote is away,
        OtherHostError where it has a version of the same number; the local state stays.
        """
        waiting = self.unpushed()
        self._run_dvc("push", "--remote", self._dvc_remote, seconds=PUSH_SECONDS)
        if earlier := [tag_of(number) for number in waiting[:-1]]:
            store = [sys.executable, "-P", str(DVC_STORE), "push", self._dvc_remote]
            self._commands.run(*store, *earlier, seconds=PUSH_SECONDS)
        for _ in range(PUSH_TRIES):
            self._tag_again(waiting)
            try:
                tags = map(tag_of, waiting)
                self._git("push", "--quiet", "--atomic", self._git_remote, self._branch, *tags, seconds=PUSH_SECONDS)
            except CommandError as error:
                if not _was_rejected(error):
                    raise
                words = error.words
                log.warning("the push was rejected, somebody was first: %s", words)
                self._rebase(waiting)
            else:
                return
        raise VersioningError(f"{self._git_remote} rejected the push {PUSH_TRIES} times ({words}): the next run tries again")

    def drop_old(self, number: int) -> None:
        """Let the parts and models before version `number` leave the working copy and the cache; the DVC remote keeps them."""
        if self.earlier_parts():
            return  # the next version's commit replaces them; until its push nothing of them goes
        kept = {self.places.part(table, number) for table in TABLES}
        for path in [*self.places.versioning.glob("clean_*_*.csv"), *self.places.versioning.glob("clean_*_*.parquet")]:
            if path not in kept:
                path.unlink()
        (self.places.data / f"{WATCHES}.csv").unlink(missing_ok=True)
        wanted = {_md5_of(Path(f"{path}.dvc")) for path in kept} | _objects_of(self._cache(), self.places.data / "model.dvc")
        for path in self._cache().glob("??/*"):
            if f"{path.parent.name}{path.name}" not in wanted:
                path.unlink()

    def pull(self, *paths: Path) -> None:
        """Fetch the files of these `.dvc` files. Raises CommandError where the remote is away or does not have them."""
        remove_stale_locks(self.places.root)
        self._run_dvc("pull", "--force", "--remote", self._dvc_remote, *map(str, paths), seconds=PUSH_SECONDS)
        # DVC keeps links. An image's build does not see what they lead to.
        if linked := [str(path) for path in paths if _has_links(path.with_suffix(""))]:
            self._run_dvc("checkout", "--force", "--relink", *linked)

    def _rebase(self, numbers: Sequence[int]) -> None:
        """Rebase the versions' commits onto the remote's branch; their tags move along."""
        self._git("fetch", "--quiet", "--no-prune", self._git_remote, self._branch, seconds=PUSH_SECONDS)
        theirs = self._ask("show", f"FETCH_HEAD:{self.places.tracked(0)[0]}", otherwise="0").strip()
        if int(theirs) >= min(numbers, default=0):
            raise OtherHostError(
                f"{self._git_remote} has version {theirs} from another host, and only one host may publish: compare both, "
                f"then reset this branch to {self._git_remote}/{self._branch}, drop the tags that are not pushed, and run again"
            )
        mark = self._git_folder() / REBASES
        mark.touch()
        try:
            self._git("rebase", "--quiet", "FETCH_HEAD")
        except CommandError as error:
            self._mend_after_kill()
            where = f"{self._git_remote}/{self._branch}"
            raise VersioningError(f"our commits cannot be put on top of {where} ({error.words}): git rebase {where}") from error
        mark.unlink()

    def _tag_again(self, numbers: Sequence[int]) -> None:
        """Move each version's tag to its commit on this branch, which a rebase may have changed.

        Raises VersioningError for a version without a commit among the latest.
        """
        commits = self._latest_commits()
        for number in numbers:
            wanted = commits.get(message(number))
            if wanted is None:
                raise VersioningError(
                    f"{self._git_remote} has no tag {tag_of(number)}, and its commit is not among the last {LATEST_COMMITS} of "
                    f"{self._branch}: git push {self._git_remote} {tag_of(number)}, or git tag -d {tag_of(number)} to drop it"
                )
            if self._ask("rev-parse", f"{tag_of(number)}^{{commit}}", otherwise="") != wanted:
                self._git("tag", "--force", "--annotate", tag_of(number), "-m", message(number), wanted)

    def _latest_commits(self) -> dict[str, str]:
        """The branch's latest commits by their first lines, of equal ones the newest."""
        commits: dict[str, str] = {}
        for line in self._git("log", f"-{LATEST_COMMITS}", "--format=%H %s").splitlines():
            commit, _, subject = line.partition(" ")
            commits.setdefault(subject, commit)
        return commits

    def _tagged(self) -> list[int]:
        """The versions that have a tag here, ascending."""
        found = map(VERSION_TAG.fullmatch, self._git("tag", "--list", "model-*").split())
        return sorted(int(each[1]) for each in found if each)

    def _check_tags(self) -> None:
        current, latest = self.current(), max(self._tagged(), default=0)
        if latest > current:
            raise VersioningError(
                f"{self.places.version_file} says {current}, but there is tag {tag_of(latest)}: git pull. "
                f"Still so? No number is used twice: write {latest} to the file and commit it, or "
                f"git tag -d {tag_of(latest)} if that version was never pushed"
            )

    def _mend_after_kill(self) -> None:
        """Abort a rebase that a killed run left, and remove the locks of a killed git: only one run works in this checkout.

        Raises VersioningError where the rebase is somebody else's.
        """
        git = self._git_folder()
        remove_stale_locks(self.places.root, git)
        if (git / "rebase-merge").exists() or (git / "rebase-apply").exists():
            if not (git / REBASES).exists():
                raise VersioningError("a rebase is under way that is not ours: git rebase --continue, or git rebase --abort")
            log.warning("taking back a rebase that was broken off")
            self._git("rebase", "--abort")
        (git / REBASES).unlink(missing_ok=True)

    def _git_folder(self) -> Path:
        return Path(self._git("rev-parse", "--absolute-git-dir"))

    def _check_identity(self) -> None:
        """Raises VersioningError where git has no name for author and committer and so would refuse a commit."""
        for who in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            try:
                self._git("var", who)
            except CommandError as error:
                raise VersioningError(
                    f"git does not know who commits ({error.words}): git config user.name NAME, git config user.email ADDRESS"
                ) from error

    def _check_dirt(self, unfinished: int | None) -> None:
        ours = set[str]()
        if unfinished is not None:
            ours = {*self.places.tracked(unfinished), *self._converted(self.earlier_parts())}
        changed = [line[3:].strip('"') for line in self._git("status", "--porcelain", "--untracked-files=normal").splitlines()]
        foreign = [path for path in changed if path not in ours and not any(each.startswith(path) for each in ours)]
        if foreign:
            shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
            raise VersioningError(f"the checkout has changes that are not ours ({shown}): commit, stash or remove them")

    def _parts(self, number: int) -> list[Path]:
        return [self.places.part(table, number) for table in TABLES]

    def _converted(self, versions: Sequence[int]) -> list[str]:
        """The `.dvc` files that the next commit adds and removes for parts that software before 1.1 made."""
        parts = (each for number in versions for each in (self.places.part(WATCHES, number), self.places.earlier_part(number)))
        return [str(Path(f"{part}.dvc").relative_to(self.places.root)) for part in parts]

    def earlier_parts(self) -> list[int]:
        """The versions whose part of the watches is in HEAD as software before 1.1 kept it."""
        found = (EARLIER_PART.fullmatch(Path(path).name) for path in self._known_files())
        return sorted(int(each[1]) for each in found if each is not None)

    def _known_files(self) -> set[str]:
        return set(self._git("ls-tree", "-r", "--name-only", "HEAD").splitlines())

    def _cache(self) -> Path:
        return self.places.root / ".dvc" / "cache" / "files" / "md5"

    def _dvc_remotes(self) -> list[str]:
        try:
            listed = self._run_dvc("remote", "list")
        except CommandError as error:
            raise VersioningError(f"DVC does not know this checkout ({error.words}): dvc init") from error
        return [line.split()[0] for line in listed.splitlines() if line.split()]

    def _run_dvc(self, *arguments: str, seconds: float = PUSH_SECONDS) -> str:
        return self._commands.run(sys.executable, "-m", "dvc", *arguments, seconds=seconds)

    def _git(self, *arguments: str, seconds: float = 60.0) -> str:
        """Only a push runs hooks: a hook of a commit or a rebase could stop or change what nobody watches."""
        hooks = () if arguments[0] == "push" else ("-c", f"core.hooksPath={os.devnull}")
        return self._commands.run("git", *hooks, *arguments, seconds=seconds)

    def _ask(self, *arguments: str, otherwise: str) -> str:
        try:
            return self._git(*arguments)
        except CommandError:
            return otherwise


def write_rating_part(places: Places, number: int, start: int, stop: int) -> None:
    """Write a version's part of the ratings: the bytes from the last version's end to this one's, under the header."""
    part = places.part(RATINGS, number)
    places.versioning.mkdir(parents=True, exist_ok=True)
    aside = part.with_name(f".{part.name}.new")
    with (places.data / f"{RATINGS}.csv").open("rb") as whole, aside.open("wb") as new:
        header = whole.readline()
        new.write(header)
        begin = max(start, len(header))
        whole.seek(begin)
        _copy(whole, new, stop - begin)
        _sync(new)
    aside.replace(part)
    sync_folder(places.versioning)


def rebuild(places: Places, versions: Sequence[int]) -> Path:
    """Write the table of ratings again from its parts in order. The parts must be there: see `Versions.pull`."""
    path = places.data / f"{RATINGS}.csv"
    aside = path.with_name(f".{path.name}.new")
    with aside.open("wb") as whole:
        for at, number in enumerate(versions):
            with places.part(RATINGS, number).open("rb") as part:
                header = part.readline()
                whole.write(b"" if at else header)
                shutil.copyfileobj(part, whole)
        _sync(whole)
    aside.replace(path)
    sync_folder(path.parent)
    return path


def parts_of(places: Places) -> dict[str, str]:
    """The MD5 of each part that the checkout names, by the part's name. Raises VersioningError for a damaged `.dvc` file."""
    pointers = [path for table in TABLES for path in places.versioning.glob(f"{table}_*.dvc")]
    return {pointer.stem: _md5_of(pointer) for pointer in sorted(pointers)}


def current_version(data: Path) -> int:
    """The last version of a data folder; 0 before the first. Raises VersioningError if version.txt is damaged."""
    path = data / VERSION_FILE
    if not path.exists():
        return 0
    try:
        return read_version(data)
    except ArtifactError as error:
        raise VersioningError(f"{error}: git checkout -- {path}") from error


def write_version(data: Path, number: int) -> None:
    """Write version.txt of a data folder."""
    write_synced(data / VERSION_FILE, f"{number}\n".encode())


def _copy(source: object, target: object, size: int) -> None:
    while size > 0:
        block = source.read(min(size, 1 << 20))  # type: ignore[attr-defined]
        if not block:
            raise VersioningError("a table is shorter than its recorded size: restore it: python -m auto_deployment.restore")
        target.write(block)  # type: ignore[attr-defined]
        size -= len(block)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _was_rejected(error: CommandError) -> bool:
    """Whether another push came first. A remote that refuses for other reasons gets no second try."""
    return TOO_LATE.search(error.words) is not None


def remove_stale_locks(root: Path, git: Path | None = None) -> None:
    """Remove the locks of a killed git (in its folder `git`) and a killed DVC in the checkout `root`.

    Raises VersioningError when a process that may hold git's lock is still at work in the checkout after `LOCK_SECONDS`.
    """
    until, folders = time.monotonic() + LOCK_SECONDS, [root, *_folders_of(git)]
    # Listed before the processes: a lock that appears afterwards is not removed.
    while found := [*(locks := _git_locks(git)), *_dvc_locks(root)]:
        if not (users := users_of(*folders)):
            for lock in found:
                log.warning("removing %s, which a killed git or DVC has left", lock)
                lock.unlink(missing_ok=True)
            return
        if time.monotonic() > until and not locks:
            return  # DVC itself says for which process it waits
        if time.monotonic() > until:
            raise VersioningError(f"{locks[0]}: {users[0]} is at work in {root}: wait for its end, and run this again")
        time.sleep(0.2)


def _folders_of(git: Path | None) -> list[Path]:
    """Git's folder, the one that it shares with other checkouts of the same clone, and those checkouts."""
    if git is None:
        return []
    common = git / (git / "commondir").read_text().strip() if (git / "commondir").exists() else git
    others = [Path(each.read_text().strip()).parent for each in common.glob("worktrees/*/gitdir")]
    return [git, common.resolve(), *([common.resolve().parent] if common.name == ".git" else []), *others]


def _git_locks(git: Path | None) -> list[Path]:
    folders = dict.fromkeys(_folders_of(git)[:2])
    patterns = ("*.lock", "refs/**/*.lock", "reftable/*.lock")
    return [lock for folder in folders for pattern in patterns for lock in folder.glob(pattern)]


def _dvc_locks(root: Path) -> list[Path]:
    """DVC's table of locks, where it is damaged or names a process, and its locks that are hard links."""
    return [lock for lock in (root / ".dvc" / "tmp").glob("*lock") if _is_held(lock)]


def _is_held(lock: Path) -> bool:
    """Whether the file blocks DVC by its existence. DVC's other locks belong to the kernel and end with their process."""
    try:
        if lock.name != "rwlock":
            return lock.stat().st_nlink > 1
        return json.loads(lock.read_text(encoding="utf-8")) not in AT_REST
    except ValueError:
        return True
    except OSError:
        return False  # it has gone, or DVC itself says why it cannot read it


def users_of(*folders: Path) -> list[str]:
    """The processes of git and DVC that work in the folders, or that may do so, as text.

    Only root sees the folder of another user's process. Without root, the process counts if its user may write to the first.
    """
    places, found = [folder.resolve() for folder in folders], []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = [word.decode(errors="replace") for word in (process / "cmdline").read_bytes().split(b"\0")]
            if _is_git_or_dvc(words) and _works_in(process, words, places):
                found.append(f"{' '.join(words).strip()[:60]} (process {process.name})")
        except OSError:
            continue  # it has ended, or is none of a user who could hold a lock here
    return found


def _is_git_or_dvc(words: Sequence[str]) -> bool:
    names = [Path(word).name for word in words[:5]]
    return re.match(r"git(-|$)", names[0]) is not None or "dvc" in names or DVC_STORE.name in names


def _works_in(process: Path, words: Sequence[str], places: Sequence[Path]) -> bool:
    try:
        folder = (process / "cwd").readlink()
    except PermissionError:
        return may_write(process.stat().st_uid, places[0])
    return any(folder.is_relative_to(place) or str(place) in " ".join(words) for place in places)


def may_write(user: int, folder: Path) -> bool:
    """Whether the user with that number may write to the folder; a member of its group may, too."""
    status = folder.stat()
    return user in (0, status.st_uid) or bool(status.st_mode & 0o022)


def _has_links(path: Path) -> bool:
    """Whether the file, or one in the folder, is a symbolic link."""
    return any(each.is_symlink() for each in (path, *path.rglob("*")))


def _md5_of(pointer: Path) -> str:
    """The checksum in a `.dvc` file."""
    found = re.search(r"md5: ([0-9a-f]{32}(?:\.dir)?)$", pointer.read_text() if pointer.exists() else "", re.MULTILINE)
    if found is None:
        raise VersioningError(f"{pointer}: not a .dvc file: git checkout -- {pointer}")
    return found[1]


def _objects_of(cache: Path, pointer: Path) -> set[str]:
    """A folder's object in the cache and those of its files."""
    whole = _md5_of(pointer)
    listing = cache / whole[:2] / whole[2:]
    files = json.loads(listing.read_bytes()) if listing.exists() else []
    return {whole, *(str(each["md5"]) for each in files)}
