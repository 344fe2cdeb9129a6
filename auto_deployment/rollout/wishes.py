"""Requests left with a running release: files that it looks for, and takes by removing them."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from auto_deployment.rollout.machine import Request
from auto_deployment.state import read_json, write_json_synced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDER = "requests"
# The longest that a running release does not look: building an image.
TAKEN_SECONDS = 900.0
PAUSE = 0.5


def leave(folder: Path, request: Request) -> Path:
    """Leave a request in a release folder; its file."""
    path = folder / FOLDER / f"{request.wish}.json"
    write_json_synced(path, asdict(request))
    return path


def pending(folder: Path) -> list[Request]:
    """The requests that nobody has taken, an abort first. Raises StateError where one cannot be read."""
    found = [read_json(path) for path in sorted((folder / FOLDER).glob("[!.]*.json"))]
    return [Request(**told) for told in found if told is not None]


def take(folder: Path, request: Request) -> None:
    """It has been seen to."""
    (folder / FOLDER / f"{request.wish}.json").unlink(missing_ok=True)


def wait_taken(path: Path, is_running: Callable[[], bool], seconds: float = TAKEN_SECONDS) -> bool:
    """Wait until the running release has taken a request; whether it did before it ended."""
    until = time.monotonic() + seconds
    while path.exists():
        if not is_running() or time.monotonic() > until:
            return False
        time.sleep(PAUSE)
    return True
