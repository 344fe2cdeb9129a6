"""`python -m app.fresh`: follows the stream, and keeps what is new of each user for the services of one version."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import sys
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from app.events import Reject, Repaired, parse
from app.fresh.follow import FileSource
from app.fresh.list_model import ListModel, NoFreshPartError
from app.fresh.overlay import BASE, RECENT, OverlayError, Status, Table, folder_of, read_status, write, write_status
from app.fresh.state import State
from app.model import ArtifactError
from app.settings import FreshSettings, settings_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from app.events import Rules
    from app.fresh.follow import Source

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.2
PUBLISH_SECONDS = 1.0
CATCH_UP_SECONDS = 60.0
COMPUTE_SECONDS = 0.2
# A base is also written when this many users have changed since the last one, or a twentieth of all.
CHECKPOINT_USERS = 5_000
LOCK = "lock"
LOCK_SECONDS = 0.5
RETRY_SECONDS = 10.0
# A version that comes back after this time begins anew, from where its data end.
KEEP_SECONDS = 14 * 86_400.0


class Checkpoint(NamedTuple):
    """The records of a base, its marks, and how far the source had been read when `recent` was written.

    `published` is empty where nothing was written yet, and None where what was written cannot be read any more.
    """

    records: dict[int, bytes]
    marks: Mapping[str, int]
    published: Mapping[str, int] | None


class Writer:
    """Writes a version's overlay. A write that fails leaves the last state in use, and is tried again with the next one."""

    def __init__(self, folder: Path, checkpoint_seconds: float) -> None:
        """A base is written every `checkpoint_seconds`, and at the first publication."""
        self._folder = folder
        self._checkpoint_seconds = checkpoint_seconds
        self._base = ""
        self._recent: set[int] = set()
        self._checkpoint_at = 0.0
        self._retry_at = 0.0
        self.as_of = 0.0
        self.problem = ""

    def read(self) -> Checkpoint:
        """The last checkpoint; an empty one where there is none that can be used."""
        try:
            recent = Table(self._folder / RECENT)
            base = Table(self._folder / str(recent.header["base"]))
            published, marks = dict(recent.header["marks"]), dict(base.header["marks"])
        except FileNotFoundError:
            return Checkpoint({}, {}, {})
        except (OverlayError, OSError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: the last state cannot be used, the stream is read again from the version's end", error)
            return Checkpoint({}, {}, None)
        self.as_of = read_status(self._folder).as_of
        return Checkpoint({user: base.record(at) for at, user in enumerate(base.users.tolist())}, marks, published)

    def publish(self, state: State, source: Source) -> None:
        """Write what has changed; now and then all of it, with the marks of the source. At last the status."""
        marks = source.marks
        self.as_of = source.as_of or self.as_of  # after a restart the state is as fresh as it was
        wanted = self._recent | state.changed
        try:
            if self._needs_base(len(wanted), state.users):
                self._retry_at = time.monotonic() + RETRY_SECONDS
                self._write_base(state.records(), marks)
            elif state.changed:
                records = state.records()
                self._write_recent(self._base, {user: records[user] for user in wanted}, marks)
                self._recent = wanted
            write_status(self._folder, Status(self.as_of, state.users, state.due, state.lists, source.lost))
        except OSError as error:
            if not self.problem:
                log.warning("the overlay cannot be written (%s): answers stay as they are until it can", error)
            self.problem = str(error)
            return
        state.changed.clear()
        if self.problem:
            log.warning("the overlay can be written again")
        self.problem = ""

    def _needs_base(self, changed: int, users: int) -> bool:
        """Whether a base is due. One that could not be written is tried again later: meanwhile `recent` may fit on the disk."""
        if not self._base:
            return True
        now = time.monotonic()
        return now >= self._retry_at and (now >= self._checkpoint_at or changed > max(CHECKPOINT_USERS, users // 20))

    def _write_base(self, records: Mapping[int, bytes], marks: Mapping[str, int]) -> None:
        name = BASE.format(time.time_ns() // 1000)
        try:
            write(self._folder / name, {"marks": dict(marks)}, records, synced=True)
            self._write_recent(name, {}, marks)
            self._base, self._recent = name, set()
        finally:
            for other in self._folder.glob("base-*"):
                if self._base and other.name != self._base:
                    other.unlink(missing_ok=True)
        self._checkpoint_at = time.monotonic() + self._checkpoint_seconds
        remove_old(self._folder.parent, self._folder)

    def _write_recent(self, base: str, records: Mapping[int, bytes], marks: Mapping[str, int]) -> None:
        write(self._folder / RECENT, {"base": base, "marks": dict(marks)}, records)


class Follower:
    """Takes lines from a source to the state, and publishes the state."""

    def __init__(self, source: Source, state: State, writer: Writer, rules: Rules) -> None:
        self._source = source
        self._state = state
        self._writer = writer
        self._rules = rules

    def step(self) -> bool:
        """Take the next lines. Returns whether there were any. Raises OSError."""
        lines = self._source.poll()
        for line in lines:
            event = parse(line, self._rules)
            if isinstance(event, Repaired):
                event = event.event
            if not isinstance(event, Reject):
                self._state.apply(event)
        return bool(lines)

    def has_reached(self, marks: Mapping[str, int] | None) -> bool:
        """Whether the source was read as far as that, or to its end."""
        read = self._source.marks
        return self.is_at_end or (marks is not None and all(read.get(name, 0) >= mark for name, mark in marks.items()))

    @property
    def is_at_end(self) -> bool:
        """Whether the source was read to its end once. Before, lists would be computed that the next lines change."""
        return self._source.as_of > 0

    @property
    def has_work(self) -> bool:
        """Whether lists can be computed now."""
        return self.is_at_end and self._state.due > 0

    def compute(self) -> None:
        """Compute lists that are due, for a short time."""
        self._state.compute_due(time.monotonic() + COMPUTE_SECONDS)

    def publish(self) -> None:
        """Write what has changed."""
        self._writer.publish(self._state, self._source)


def run(follower: Follower, published: Mapping[str, int] | None, stop: threading.Event, beat: Callable[[], None]) -> None:
    """Follow until `stop` is set. Nothing is published before the source was read to `published`, the marks of the last state.

    Struck films are published every second, however many lists are due; once a minute while a version without a last state
    catches up. `beat` is called in each round.
    """
    published_at, behind, problem = time.monotonic(), published != {}, ""
    while not stop.is_set():
        beat()
        try:
            some = follower.step()
        except OSError as error:
            if not problem:
                log.warning("the stream cannot be read now, tried again until it can: %s", error)
            some, problem = False, str(error)
        else:
            if problem:
                log.warning("the stream can be read again")
            problem = ""
        behind = behind and not follower.has_reached(published)
        if not behind:
            if follower.is_at_end:
                follower.compute()
            if time.monotonic() - published_at >= (PUBLISH_SECONDS if follower.is_at_end else CATCH_UP_SECONDS):
                follower.publish()
                published_at = time.monotonic()
        if not some and not follower.has_work:
            stop.wait(IDLE_SECONDS)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock. Yields False where another process holds it."""
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(file)


def remove_old(root: Path, own: Path) -> None:
    """Remove the folders of versions that no process has written for `KEEP_SECONDS`. A fault is left for the next time."""
    for folder in root.iterdir():
        if folder == own or not (folder / LOCK).exists() or _age(folder) < KEEP_SECONDS:
            continue
        with contextlib.suppress(OSError), only_one(folder) as alone:
            if alone:
                shutil.rmtree(folder)
                log.info("%s removed: its version left service long ago", folder)


def _age(folder: Path) -> float:
    """How long ago a file was last replaced in `folder`, in seconds."""
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return 0.0


class _Beat:
    """Touches a file at most once a second."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._next = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if self._file is not None and now >= self._next:
            self._next = now + 1.0
            with contextlib.suppress(OSError):  # a health check that fails says it
                self._file.touch()


def main(arguments: Sequence[str] = ()) -> int:
    """The command. Returns 0 after TERM or Ctrl-C, 1 or 2, see docs/operations.md."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if arguments:
        sys.stderr.write("use: python -m app.fresh, with settings from the environment\n")
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = FreshSettings()
        _serve(settings, stop, _Beat(settings.heartbeat_file))
    except ValidationError as error:
        sys.stderr.write(f"fresh: {settings_problem(error)}\n")
        return 2
    except (ArtifactError, OSError) as error:
        sys.stderr.write(f"fresh: {error}\n")
        return 1
    return 0


def _serve(settings: FreshSettings, stop: threading.Event, beat: _Beat) -> None:
    """Follow until `stop` is set, once no other process does. A version without a fresh part has nothing to follow."""
    try:
        model = ListModel(settings.model_dir)
    except NoFreshPartError as error:
        log.warning("%s. Until the next version nothing is to be done here", error)
        _wait(stop, beat)
        return
    folder = folder_of(settings.fresh_dir, settings.model_dir, int(model.metadata["version"]))
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    waits = False
    while not stop.is_set():
        with only_one(folder) as alone:
            if alone:
                _follow(settings, model, folder, stop, beat)
        if not alone:
            if not waits:
                log.info("another process writes %s: waiting for its end", folder)
            waits = True
            beat()
            stop.wait(LOCK_SECONDS)


def _wait(stop: threading.Event, beat: _Beat) -> None:
    while not stop.is_set():
        beat()
        stop.wait(1.0)


def _follow(settings: FreshSettings, model: ListModel, folder: Path, stop: threading.Event, beat: _Beat) -> None:
    writer = Writer(folder, settings.checkpoint_seconds)
    records, marks, published = writer.read()
    with contextlib.closing(_source(settings, model, marks, writer.as_of)) as source:
        log.info(
            "version %d follows %s from %s, %d users are known", model.metadata["version"], source.name, marks, len(records)
        )
        run(Follower(source, State(model, records), writer, model.rules), published, stop, beat)


def _source(settings: FreshSettings, model: ListModel, marks: Mapping[str, int], as_of: float) -> Source:
    if settings.follow_file is not None:
        return FileSource(settings.follow_file, settings.follow_from, marks)
    from app.fresh.topic import TopicSource  # noqa: PLC0415 - replays and the demo need no client of Kafka

    try:
        since = datetime.fromisoformat(model.metadata["data_creation"]).timestamp()
        return TopicSource(settings, model.metadata["fresh"]["offsets"], max(since, as_of), marks)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{settings.model_dir}/metadata.json: does not say where its data end ({error}): train again"
        ) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
