"""The JSON request log: one line on standard output for each request, written at once or not at all."""

from __future__ import annotations

import json
import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

PATH_SHOWN = 200
OUTPUT = 1


class Entry(NamedTuple):
    """One request. Times in milliseconds; `path` only where the request was not answered with a list."""

    request_id: str
    answer_id: str | None
    user: int | None
    version: int
    track: str
    status: int
    milliseconds: float
    path: str | None = None


def to_json(entry: Entry, now: float) -> str:
    """The log's line, `now` in seconds since 1970."""
    if entry.path is not None:
        fields = {**entry._asdict(), "path": entry.path[:PATH_SHOWN], "milliseconds": round(entry.milliseconds, 3)}
        return json.dumps({"time": round(now, 3), **fields}) + "\n"
    # Every text in here has a checked form, so that writing it needs no escapes: a quarter of what json.dumps takes.
    return (
        f'{{"time": {now:.3f}, "request_id": "{entry.request_id}", "answer_id": "{entry.answer_id}", '
        f'"user": {entry.user}, "version": {entry.version}, "track": "{entry.track}", "status": {entry.status}, '
        f'"milliseconds": {entry.milliseconds:.3f}}}\n'
    )


class RequestLog:
    """Writes a request's line to standard output; a log that cannot be written costs lines, never an answer or its time."""

    def __init__(self, count_lost: Callable[[], None] | None = None) -> None:
        self._count_lost = count_lost
        self._file = _that_never_waits(OUTPUT)

    def write(self, entry: Entry) -> None:
        """Write a line, which is short enough to go into a pipe whole or not at all."""
        try:
            os.write(self._file, to_json(entry, time.time()).encode())
        except OSError:
            if self._count_lost is not None:
                self._count_lost()


def _that_never_waits(file: int) -> int:
    """The same pipe, but one that is full refuses: who reads a container's output may hang, as an engine does on a busy disk.

    Opened again, because other writers share the mode of the file that was given. Where it is no pipe, or somebody else's, it
    stays as it is.
    """
    try:
        if not stat.S_ISFIFO(os.fstat(file).st_mode):
            return file
        return os.open(f"/proc/self/fd/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return file
