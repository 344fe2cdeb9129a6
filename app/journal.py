r"""A worker's journal: one line for every answer, written with one `write(2)` before the answer leaves.

A written line survives a kill -9 of the process. The fields of a line, see `Row`, are separated by `\t`. Each worker writes a
file of its own and holds a lock on the file. The kernel frees the lock when the worker ends. So a process that gets the lock
knows that the writer has ended.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
SUFFIX = ".tsv"
# The form of a line. No field is longer than its column in the database, so a damaged line never gets there.
_WORD, _NUMBER = rb"([!-~]{1,%d})", rb"(0|[1-9][0-9]{0,%d})"
LINE = re.compile(
    b"\t".join((_WORD % 32, _WORD % 64, _NUMBER % 18, _NUMBER % 9, _WORD % 8, _NUMBER % 15, _WORD % 16, _WORD % 16))
    + b"(?:\t%s)?\n" % (_WORD % 64)
)


# The line of a served list begins with a word that is no answer's id.
LISTED = "list"
LIST_LINE = re.compile(
    b"\t".join((LISTED.encode(), rb"([0-9a-f]{16})", _NUMBER % 18, _NUMBER % 9, _NUMBER % 15, rb"([A-Za-z0-9_.-]{1,60000})"))
    + b"\n"
)


class JournalError(Exception):
    """The journal's folder cannot be used; the text says why."""


class Row(NamedTuple):
    """One answer. `served_at` is in microseconds since 1970, UTC; `digest` is the digest of the answer's body, see `routes`.

    A recommender needs the model, the user and `inputs` to give the same answer again. `inputs` is mostly empty.
    """

    answer_id: str
    request_id: str
    user_id: int
    version_number: int
    track: str
    served_at: int
    step: str
    digest: str
    inputs: str = ""


class ServedList(NamedTuple):
    """What a served list was computed from, see `app.fresh`. `served_at` is that of the answer."""

    list_id: str
    user_id: int
    version_number: int
    served_at: int
    source: str


def to_line(row: Row) -> bytes:
    """The journal's line of a row. Without inputs the line has one field less."""
    return ("\t".join(map(str, row if row.inputs else row[:-1])) + "\n").encode()


def list_line(served: ServedList) -> bytes:
    """The journal's line of a served list."""
    return ("\t".join(map(str, (LISTED, *served))) + "\n").encode()


def list_from_line(line: bytes) -> ServedList | None:
    """The list of a line of `list_line`; None for any other line."""
    match = LIST_LINE.fullmatch(line)
    if match is None:
        return None
    list_id, user_id, version_number, served_at, source = map(bytes.decode, match.groups())
    served = ServedList(list_id, int(user_id), int(version_number), int(served_at), source)
    return served if served.user_id < 2**63 and served.version_number < 2**31 else None


def from_line(line: bytes) -> Row:
    """The row of a journal's line. Raises ValueError for a line that `to_line` cannot have written."""
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError("not the form of a journal's line")
    fields = map(bytes.decode, match.groups(b""))
    answer_id, request_id, user_id, version_number, track, served_at, step, digest, inputs = fields
    row = Row(answer_id, request_id, int(user_id), int(version_number), track, int(served_at), step, digest, inputs)
    if row.user_id >= 2**63 or row.version_number >= 2**31:
        raise ValueError("a number is too large for its column in the database")
    return row


@dataclass
class JournalState:
    """What a worker knows about its own journal: the rows that were lost, and why the last write failed."""

    lost: int = 0
    problem: str = ""


class Journal:
    """Appends rows to this process's journal. The size is bounded, and `append` neither raises nor waits.

    A full disk, or a folder that already holds `max_bytes`, loses rows but no answers. `state.lost` counts the lost rows, and
    `state.problem` has the reason. The next attempt follows a second later.
    """

    def __init__(self, folder: Path, max_bytes: int, segment_bytes: int) -> None:
        """Raises JournalError if `folder` cannot be made."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = min(segment_bytes, max_bytes)
        self._file = -1
        self._pid = -1
        self._size = 0
        self._retry_at = 0.0
        self._lock = threading.Lock()
        self.state = JournalState()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"{folder}: {error.strerror}: the journals need a writable folder") from error

    def append(self, line: bytes) -> bool:
        """Write one line. Returns whether the whole line was written."""
        with self._lock:
            try:
                self._write(line)
            except OSError as error:
                self._lose(error.strerror or str(error))
                return False
            if self.state.problem:
                log.warning("journal in %s works again, %d rows lost so far", self._folder, self.state.lost)
                self.state.problem = ""
            return True

    def close(self) -> None:
        """Close the file. This frees its lock, and the shipper may then remove the file."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _write(self, line: bytes) -> None:
        if self._file < 0 or self._size + len(line) > self._segment_bytes or self._pid != os.getpid():
            self._begin_segment()
        written = os.write(self._file, line)
        if written != len(line):
            os.ftruncate(self._file, self._size)
            raise OSError(0, "no space left for a whole line")
        self._size += written

    def _begin_segment(self) -> None:
        if time.monotonic() < self._retry_at:
            raise OSError(0, self.state.problem)
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self.close()  # before the sizes are added up: the shipper can only remove a closed file
        if sum(map(file_size, self._folder.glob("*"))) + self._segment_bytes > self._max_bytes:
            raise OSError(0, f"{self._folder} holds its {self._max_bytes >> 20} MiB: is the shipper, or the database, away?")
        self._pid = os.getpid()
        path = self._folder / f"{time.time_ns():020d}-{self._pid}{SUFFIX}"
        # The shipper removes a journal whose lock is free. So the file gets its name only after it is locked.
        hidden = path.with_suffix(".new")
        file = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            hidden.rename(path)
        except OSError:
            os.close(file)
            hidden.unlink(missing_ok=True)
            raise
        self._file = file
        self._size = 0
        self._retry_at = 0.0

    def _lose(self, problem: str) -> None:
        self.state.lost += 1
        if not self.state.problem:
            log.error("journal in %s cannot be written (%s): answers continue, but their rows are lost", self._folder, problem)
        self.state.problem = problem


def file_size(path: Path) -> int:
    """The file's size in bytes; 0 if the shipper has just removed the file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
