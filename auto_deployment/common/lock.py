"""Lock files of the host side. The kernel frees a lock however its holder ends; a line in the file names the holder."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.common.time_format import utc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RETRY_SECONDS = 0.1


class LockedError(RunError):
    """Another process holds the lock; the message names it."""

    status = 75


@contextmanager
def locked(path: Path, busy: str, *, advice: str = "", name: str = "", wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock file, with `name` (or the process's number) and the time in it.

    Raises LockedError after `wait_seconds`. Its message is `busy`, then the holder and `advice`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + wait_seconds
    with path.open("a+", encoding="utf-8") as file:
        while not acquire(file.fileno()):
            if time.monotonic() >= until:
                details = [text for text in (holder(path), advice) if text]
                raise LockedError(f"{busy}: {'; '.join(details) or 'it has just begun'}")
            time.sleep(RETRY_SECONDS)
        file.truncate(0)
        file.write(f"{name or f'process {os.getpid()}'} since {utc(time.time())}\n")
        file.flush()
        yield


def acquire(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file until it is closed; False where another process holds the lock, unless we wait for that process."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Whether a process holds the lock now. The answer takes the lock for a moment."""
    try:
        with path.open("rb") as file:
            return not acquire(file.fileno(), shared=True)
    except FileNotFoundError:
        return False


def holder(path: Path) -> str:
    """The last holder's line; empty where there is none."""
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
