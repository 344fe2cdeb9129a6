"""Requests of operators to a running release: one file each. The release acknowledges a request by removing its file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from auto_deployment.common.json_file import read_typed, write_typed
from auto_deployment.release.docker_commands import BUILD_SECONDS
from auto_deployment.release.state_machine import OperatorRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDER = "requests"
# The release that superseded another one. The process of the superseded release starts it, or a resume does.
NEXT = "next.json"
# A running release reads no requests while it builds an image.
ACKNOWLEDGE_SECONDS = BUILD_SECONDS + 120.0
PAUSE = 0.5
ORDERS = ("abort", "promote")


def submit(folder: Path, request: OperatorRequest) -> Path:
    """Write a request into a release folder; its file."""
    path = folder / FOLDER / f"{request.action}.json"
    write_typed(path, request)
    return path


def pending(folder: Path) -> list[OperatorRequest]:
    """The requests that are not acknowledged, an abort first. Raises StateError where one cannot be read."""
    found = [read_typed(path, OperatorRequest) for path in sorted((folder / FOLDER).glob("[!.]*.json"))]
    return [request for request in found if request is not None]


def acknowledge(folder: Path, request: OperatorRequest) -> None:
    """Remove a request that was handled. The release of a newer version is kept as the next one."""
    path = folder / FOLDER / f"{request.action}.json"
    if request.action == "release" and path.exists():
        path.replace(folder / NEXT)
    path.unlink(missing_ok=True)


def next_release(folder: Path) -> OperatorRequest | None:
    """The release that comes next; None where no other release was requested."""
    return read_typed(folder / NEXT, OperatorRequest)


def drop(folder: Path) -> None:
    """Remove all requests: they were meant for a release that has ended, or were handled."""
    for path in (*(folder / FOLDER).glob("*.json"), folder / NEXT):
        path.unlink(missing_ok=True)


def drop_orders(folder: Path) -> None:
    """Remove requests to a release that has ended. The request for a newer version stays."""
    for action in ORDERS:
        (folder / FOLDER / f"{action}.json").unlink(missing_ok=True)


def wait_acknowledged(path: Path, is_running: Callable[[], bool], seconds: float = ACKNOWLEDGE_SECONDS) -> bool:
    """Wait until the running release acknowledges a request; False where it ended or the time passed before."""
    until = time.monotonic() + seconds
    while path.exists():
        if not is_running() or time.monotonic() > until:
            return False
        time.sleep(PAUSE)
    return True
