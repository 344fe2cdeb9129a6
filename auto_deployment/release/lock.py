"""One release at a time: a lock that the kernel frees however its holder ends, and that says who holds it."""

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

FILE = "lock"


class LockedError(RunError):
    """Another command holds the lock; the text says which."""

    status = 75


@contextmanager
def held(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a release folder. Raises LockedError naming who holds it, since when and for what."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"another release holds the lock: {holder(folder) or 'it has just begun'}") from error
        lock.truncate(0)
        lock.write(f"{what}, process {os.getpid()} since {utc(time.time())}\n")
        lock.flush()
        yield


def holder(folder: Path) -> str:
    """Who holds the lock, or held it last."""
    path = folder / FILE
    return path.read_text().strip() if path.exists() else ""


def is_held(folder: Path) -> bool:
    """Whether somebody holds the lock now."""
    path = folder / FILE
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
