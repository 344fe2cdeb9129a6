"""One run at a time, by a lock that the kernel frees however the run ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class LockedError(RunError):
    """Another run has the lock; the text says which."""

    status = 75


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the lock. Raises LockedError naming who holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise LockedError(f"another run holds the lock: {lock.read().strip() or 'it has just begun'}") from error
        lock.truncate(0)
        lock.write(f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")
        lock.flush()
        yield
