"""Requests left with a running release: files that it looks for, and takes by removing them."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from auto_deployment.common.json_file import read_json, write_json_synced
from auto_deployment.release.docker_commands import BUILD_SECONDS
from auto_deployment.release.state_machine import Request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDER = "requests"
# The release that another one was given up for. The process that ran that one begins it, or a resume does.
NEXT = "next.json"
# The longest that a running release does not look is while it builds an image.
TAKEN_SECONDS = BUILD_SECONDS + 120.0
PAUSE = 0.5
ORDERS = ("abort", "promote")


def leave(folder: Path, request: Request) -> Path:
    """Leave a request in a release folder; its file."""
    path = folder / FOLDER / f"{request.wish}.json"
    write_json_synced(path, asdict(request))
    return path


def pending(folder: Path) -> list[Request]:
    """The requests that nobody has taken, an abort first. Raises StateError where one cannot be read."""
    found = [_read(path) for path in sorted((folder / FOLDER).glob("[!.]*.json"))]
    return [request for request in found if request is not None]


def take(folder: Path, request: Request) -> None:
    """It has been seen to; a newer version's release comes next."""
    path = folder / FOLDER / f"{request.wish}.json"
    if request.wish == "release" and path.exists():
        path.replace(folder / NEXT)
    path.unlink(missing_ok=True)


def next_release(folder: Path) -> Request | None:
    """The release that is to come next; None where none is."""
    return _read(folder / NEXT)


def drop(folder: Path) -> None:
    """Forget all that was asked: it was meant for a release that has ended, or is seen to."""
    for path in (*(folder / FOLDER).glob("*.json"), folder / NEXT):
        path.unlink(missing_ok=True)


def drop_orders(folder: Path) -> None:
    """Forget requests to a release that has ended. The request for a newer version stays."""
    for wish in ORDERS:
        (folder / FOLDER / f"{wish}.json").unlink(missing_ok=True)


def _read(path: Path) -> Request | None:
    told = read_json(path)
    return None if told is None else Request(**{**told, "options": tuple(told["options"])})


def wait_taken(path: Path, is_running: Callable[[], bool], seconds: float = TAKEN_SECONDS) -> bool:
    """Wait until the running release has taken a request; whether it did before it ended."""
    until = time.monotonic() + seconds
    while path.exists():
        if not is_running() or time.monotonic() > until:
            return False
        time.sleep(PAUSE)
    return True
