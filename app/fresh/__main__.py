"""`python -m app.fresh`: follows the stream, and keeps what is new of each user for the services of one version."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from app.events import Reject, Repaired, parse
from app.fresh.follow import FileSource
from app.fresh.list_model import ListModel
from app.fresh.overlay import BASE, RECENT, OverlayError, Table, folder_of, write
from app.fresh.state import State
from app.model import ArtifactError
from app.settings import FreshSettings, settings_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from app.events import Rules
    from app.fresh.follow import Source

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.2
PUBLISH_SECONDS = 1.0
COMPUTE_SECONDS = 0.2
# A base is also written when this many users have changed since the last one: readers check all of `recent` once a second.
CHECKPOINT_USERS = 5_000
BUSY = 75


class Checkpoint(NamedTuple):
    """The records of a base, its marks, and how far the source had been read when `recent` was written."""

    records: dict[int, bytes]
    marks: Mapping[str, int]
    published: Mapping[str, int]


class Writer:
    """Writes a version's overlay. A write that fails leaves the last state in use, and is tried again with the next one."""

    def __init__(self, folder: Path, checkpoint_seconds: float) -> None:
        """A base is written every `checkpoint_seconds`, and at the first publication."""
        self._folder = folder
        self._checkpoint_seconds = checkpoint_seconds
        self._base = ""
        self._recent: set[int] = set()
        self._checkpoint_at = 0.0
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
            return Checkpoint({}, {}, {})
        return Checkpoint({user: base.record(at) for at, user in enumerate(base.users.tolist())}, marks, published)

    def publish(self, state: State, marks: Mapping[str, int]) -> None:
        """Write what has changed; now and then all of it, with the marks of the source."""
        wanted = self._recent | state.changed
        try:
            if not self._base or time.monotonic() >= self._checkpoint_at or len(wanted) > CHECKPOINT_USERS:
                self._write_base(state.records(), marks)
            elif state.changed:
                records = state.records()
                self._write_recent(self._base, {user: records[user] for user in wanted}, marks)
                self._recent = wanted
        except OSError as error:
            if not self.problem:
                log.warning("the overlay cannot be written (%s): answers stay as they are until it can", error)
            self.problem = str(error)
            return
        state.changed.clear()
        if self.problem:
            log.warning("the overlay can be written again")
        self.problem = ""

    def _write_base(self, records: Mapping[int, bytes], marks: Mapping[str, int]) -> None:
        name = BASE.format(time.time_ns() // 1000)
        try:
            write(self._folder / name, {"marks": dict(marks)}, records)
            self._write_recent(name, {}, marks)
            self._base, self._recent = name, set()
        finally:
            for other in self._folder.glob("base-*"):
                if self._base and other.name != self._base:
                    other.unlink(missing_ok=True)
        self._checkpoint_at = time.monotonic() + self._checkpoint_seconds

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

    def has_reached(self, marks: Mapping[str, int]) -> bool:
        """Whether the source was read as far as that."""
        return all(self._source.marks.get(name, 0) >= mark for name, mark in marks.items())

    def compute(self) -> None:
        """Compute lists that are due, for a short time."""
        self._state.compute_due(time.monotonic() + COMPUTE_SECONDS)

    def publish(self) -> None:
        """Write what has changed."""
        self._writer.publish(self._state, self._source.marks)


def run(follower: Follower, published: Mapping[str, int], stop: threading.Event) -> None:
    """Follow until `stop` is set. Nothing is published before the source was read to `published`, the marks of the last state.

    Struck films are published every second, however many lists are due.
    """
    publish_at, behind = 0.0, True
    while not stop.is_set():
        try:
            some = follower.step()
        except OSError as error:
            log.warning("the stream cannot be read now: %s", error)
            some = False
        behind = behind and some and not follower.has_reached(published)
        if not behind:
            follower.compute()
            if time.monotonic() >= publish_at:
                follower.publish()
                publish_at = time.monotonic() + PUBLISH_SECONDS
        if not some:
            stop.wait(IDLE_SECONDS)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock. Yields False where another process holds it."""
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(file)


def main(arguments: Sequence[str] = ()) -> int:
    """The command. Returns 0 after TERM or Ctrl-C, 1, 2 or 75, see docs/operations.md."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if arguments:
        sys.stderr.write("use: python -m app.fresh, with settings from the environment\n")
        return 2
    try:
        settings = FreshSettings()
        model = ListModel(settings.model_dir)
        folder = folder_of(settings.fresh_dir, settings.model_dir, int(model.metadata["version"]))
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        with only_one(folder) as alone:
            if not alone:
                sys.stderr.write(f"fresh: another process writes {folder}: stop it first\n")
                return BUSY
            _follow(settings, model, folder)
    except ValidationError as error:
        sys.stderr.write(f"fresh: {settings_problem(error)}\n")
        return 2
    except (ArtifactError, OSError) as error:
        sys.stderr.write(f"fresh: {error}\n")
        return 1
    return 0


def _follow(settings: FreshSettings, model: ListModel, folder: Path) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    writer = Writer(folder, settings.checkpoint_seconds)
    records, marks, published = writer.read()
    source = FileSource(settings.follow_file, settings.follow_from, marks)
    log.info(
        "version %d follows %s from %s, %d users are known", model.metadata["version"], source.name, source.marks, len(records)
    )
    run(Follower(source, State(model, records), writer, model.rules), published, stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
