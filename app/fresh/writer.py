"""Writes a version's overlay, alone: its lock, its checkpoints, and the removal of folders that no version needs."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import time
from typing import TYPE_CHECKING, NamedTuple

from app.fresh.overlay import BASE, RECENT, OverlayError, Status, Table, read_status, write, write_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from app.fresh.follow import Source
    from app.fresh.state import State

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
CHECKPOINT_USERS = 5_000
LOCK = "lock"
# A version that comes back after this time begins anew, from where its data end.
KEEP_SECONDS = 14 * 86_400.0


class Checkpoint(NamedTuple):
    """The records of a base, its marks, and how far the source had been read when `recent` was written.

    `published` is empty where nothing was written yet, and None where what was written cannot be read any more.
    """

    records: dict[int, bytes]
    marks: Mapping[str, int]
    published: Mapping[str, int] | None


def most_changed(users: int) -> int:
    """When more than so many of the users have changed since the last base, another base is written."""
    return max(CHECKPOINT_USERS, users // 20)


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
        return now >= self._retry_at and (now >= self._checkpoint_at or changed > most_changed(users))

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
