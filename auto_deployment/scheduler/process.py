"""A run as a process: a child of this scheduler, or one that an earlier scheduler has left."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Protocol

from auto_deployment.common.lock import acquire, is_held
from auto_deployment.scheduler.plan import UNOBSERVED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__package__)


class Running(Protocol):
    """A run in progress."""

    pid: int | None

    def poll(self) -> int | None:
        """Its exit status once it has ended; negative: the signal that killed it."""
        ...

    def terminate(self) -> None:
        """Ask the run to end after its current step."""
        ...

    def kill(self) -> None:
        """Kill the run and all processes that it started."""
        ...


class Child:
    """A run as a child process.

    The run inherits a lock: if this scheduler is killed, a later scheduler sees that the run is still in progress. The run has
    a process group of its own, so that Ctrl-C reaches it through the scheduler only.
    """

    def __init__(self, command: Sequence[str], lock: Path) -> None:
        """Raises OSError where the run cannot be started: BlockingIOError where another run is in progress."""
        with lock.open("ab") as file:
            if not acquire(file.fileno()):
                raise BlockingIOError(errno.EWOULDBLOCK, "another run holds the lock", str(lock))
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[file.fileno()]
            )
        self.pid: int | None = self._process.pid

    def poll(self) -> int | None:
        """Its exit status once it has ended."""
        return self._process.poll()

    def terminate(self) -> None:
        """TERM to the run alone: the programs that it started may finish their step."""
        self._process.terminate()

    def kill(self) -> None:
        """KILL to its whole process group."""
        _kill_group(self._process.pid)
        self._process.wait()


class Adopted:
    """A run that an earlier scheduler started and did not see end. Its exit status stays unknown."""

    def __init__(self, pid: int | None, lock: Path) -> None:
        self.pid = pid
        self._lock = lock

    def poll(self) -> int | None:
        """UNOBSERVED once it has ended."""
        return None if is_held(self._lock) else UNOBSERVED

    def terminate(self) -> None:
        """TERM, where its number is known."""
        if self.pid is not None:
            _signal(os.kill, self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """KILL to its process group, where its number is known."""
        if self.pid is not None:
            _kill_group(self.pid)


def _kill_group(pid: int) -> None:
    _signal(os.killpg, pid, signal.SIGKILL)


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> None:
    try:
        send(pid, number)
    except ProcessLookupError:
        log.debug("process %d has ended already", pid)
