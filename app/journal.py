r"""A worker's journal: one line for every answer, written with one `write(2)` before the answer leaves.

What `write` has taken survives a kill -9 of the process. A line is `\t`-separated, see `Row`. Each worker writes a file of its
own and holds a lock on that file. The kernel frees the lock when the worker ends, so another process that gets the lock knows
that the writer is gone.
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
# The form of a line, each field no longer than its column in the database: a damaged one must never get as far as that.
_WORD, _NUMBER = rb"([!-~]{1,%d})", rb"(0|[1-9][0-9]{0,%d})"
LINE = re.compile(
    b"\t".join((_WORD % 32, _WORD % 64, _NUMBER % 18, _NUMBER % 9, _WORD % 8, _NUMBER % 15, _WORD % 16, _WORD % 16))
    + b"(?:\t%s)?\n" % (_WORD % 64)
)


class JournalError(Exception):
    """The journal's folder cannot be used at all."""


class Row(NamedTuple):
    """One answer. `served_at` is in microseconds since 1970, UTC; `digest` is of the answer's body, see `routes`.

    `inputs` is what the recommender needs, besides model and user, to give the same answer again. It is mostly empty.
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


def to_line(row: Row) -> bytes:
    """The journal's line of a row; one without inputs has a field less."""
    return ("\t".join(map(str, row if row.inputs else row[:-1])) + "\n").encode()


def from_line(line: bytes) -> Row:
    """The row of a journal's line. Raises ValueError for anything that `to_line` does not write."""
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError("not the form of a journal's line")
    told = map(bytes.decode, match.groups(b""))
    answer_id, request_id, user_id, version_number, track, served_at, step, digest, inputs = told
    row = Row(answer_id, request_id, int(user_id), int(version_number), track, int(served_at), step, digest, inputs)
    if row.user_id >= 2**63 or row.version_number >= 2**31:
        raise ValueError("a number beyond its column in the database")
    return row


@dataclass
class JournalState:
    """What a worker knows of its own journal."""

    lost: int = 0
    problem: str = ""


class Journal:
    """Appends rows to this process's journal. Bounded; never raises and never waits once it is made.

    A full disk, or a folder that already holds `max_bytes`, costs rows and never answers. `state.lost` counts the lost rows,
    `state.problem` has the reason, and the next try follows a second later.
    """

    def __init__(self, folder: Path, max_bytes: int, segment_bytes: int) -> None:
        """Raises JournalError when `folder` cannot be made."""
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
            raise JournalError(f"{folder}: {error.strerror}: the journals need a folder that can be written") from error

    def append(self, line: bytes) -> bool:
        """Write one line; whether it was taken whole."""
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
        """Let go of the file, so that the shipper may finish it."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _write(self, line: bytes) -> None:
        if self._file < 0 or self._size + len(line) > self._segment_bytes or self._pid != os.getpid():
            self._begin_segment()
        written = os.write(self._file, line)
        if written != len(line):
            os.ftruncate(self._file, self._size)
            raise OSError(0, "no room left for a whole line")
        self._size += written

    def _begin_segment(self) -> None:
        if time.monotonic() < self._retry_at:
            raise OSError(0, self.state.problem)
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self.close()  # before the room is counted: the shipper can only clear away what is closed
        if sum(map(_size, self._folder.glob("*"))) + self._segment_bytes > self._max_bytes:
            raise OSError(0, f"{self._folder} holds its {self._max_bytes >> 20} MiB: is the shipper, or the database, away?")
        self._pid = os.getpid()
        path = self._folder / f"{time.time_ns():020d}-{self._pid}{SUFFIX}"
        # The shipper removes a journal whose lock is free, so it must not see the file before it is locked.
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
            log.error("journal in %s cannot be written (%s): answers go on, their rows are lost", self._folder, problem)
        self.state.problem = problem


def _size(path: Path) -> int:
    """A file's size; 0 when the shipper has just removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
