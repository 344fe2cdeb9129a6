"""Every process that the tour started, also one that a command left in the background."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

PR_SET_CHILD_SUBREAPER = 36
TERM_SECONDS = 20.0
KILL_SECONDS = 10.0


def adopt_orphans() -> None:
    """Become the parent of every process whose own parent ends. So no process of the tour gets lost. Only Linux can do this."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_children() -> None:
    """End every child in order, and kill those that remain with all that they started. Raises RunError if one stays."""
    asked = set[int]()
    until = time.monotonic() + TERM_SECONDS
    while (children := set(_children(os.getpid()))) and time.monotonic() < until:
        # A child that ends leaves its own children to us: the next round asks them.
        for pid in children - asked:
            _signal(pid, signal.SIGTERM)
        asked |= children
        _reap()
        time.sleep(0.05)
    until = time.monotonic() + KILL_SECONDS
    while left := list(_descendants(os.getpid())):
        if time.monotonic() > until:
            raise RunError(f"these processes cannot be ended: {', '.join(map(str, left))}")
        for pid in left:
            _signal(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.05)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            continue


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _children(pid: int) -> Iterator[int]:
    """The children of all threads of a process."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield from map(int, path.read_text().split())


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)
