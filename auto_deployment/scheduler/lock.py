"""The lock of the only scheduler, and that of its run: the kernel frees them, however their holder ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.common.time_format import to_iso
from auto_deployment.scheduler.plan import BUSY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK, RUN_LOCK = "scheduler.lock", ".scheduler.run.lock"  # of a data folder


class HeldError(RunError):
    """Another scheduler holds the lock."""

    status = BUSY


@contextmanager
def locked(path: Path, tries: int = 10) -> Iterator[None]:
    """Hold the lock of the only scheduler, with a line in it that says who. Raises HeldError. The kernel frees it.

    It is tried for a second: `--status` holds it for a moment.
    """
    with path.open("a+", encoding="utf-8") as file:
        for left in reversed(range(tries)):
            if _take(file.fileno(), fcntl.LOCK_EX):
                break
            if not left:
                raise HeldError(f"another scheduler runs already: {holder(path)}; stop that one first, or leave it to its work")
            time.sleep(0.1)
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()} since {to_iso(time.time())}\n")
        file.flush()
        yield


def is_held(path: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        with path.open("rb") as file:
            return not _take(file.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def holder(path: Path) -> str:
    """Who holds the lock, in the words of its line."""
    return path.read_text(encoding="utf-8", errors="replace").strip() or "its name is not written yet"


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
