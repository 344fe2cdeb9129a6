"""The JSON request log: one line on standard output for each request, written at once."""

from __future__ import annotations

import json
import os
import time
from typing import NamedTuple

PATH_SHOWN = 200


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


def write(entry: Entry) -> None:
    """Write a request's line to standard output; a log that cannot be written costs the line, never the answer."""
    try:
        os.write(1, to_json(entry, time.time()).encode())
    except OSError:
        return
