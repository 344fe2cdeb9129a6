"""The demo's processes: starts them, restarts a dead one, and ends all of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 12.0
MOST_RESTARTS = 10
WITHIN_SECONDS = 60.0


@dataclass
class Process:
    """A command to keep running, its environment, and the folders for its log and its process number."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    logs: Path
    pids: Path
    child: subprocess.Popen[bytes] | None = None
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_RESTARTS))

    @property
    def log(self) -> Path:
        """The file with its output."""
        return self.logs / f"{self.name}.log"

    def start(self) -> None:
        """Start it in its own session: Ctrl-C reaches only the demo, which then ends its processes in order."""
        self.starts.append(time.monotonic())
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - the demo has one thread, and there is no other way
            )
        (self.pids / f"{self.name}.pid").write_text(f"{self.child.pid}\n")

    def has_ended(self) -> bool:
        """Whether it has ended, or was never started."""
        return self.child is None or self.child.poll() is not None

    def signal(self, number: int) -> None:
        """Send a signal to its process group, so that no worker of a dead leader survives."""
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)

    def restarts_too_often(self) -> bool:
        """Whether it was started `MOST_RESTARTS` times within a minute."""
        return len(self.starts) == MOST_RESTARTS and time.monotonic() - self.starts[0] < WITHIN_SECONDS

    def last_line(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "its log is empty"


class Processes:
    """All processes of the demo, in the order of their start."""

    def __init__(self, processes: Sequence[Process], report: Callable[[str], None]) -> None:
        self._processes = processes
        self._report = report

    def start(self, *names: str) -> None:
        """Start the named processes."""
        for process in self._processes:
            if process.name in names:
                process.start()

    def restart_dead(self) -> None:
        """Restart dead processes. Raises RunError if a process dies too often."""
        for process in self._processes:
            if process.has_ended():
                if process.restarts_too_often():
                    raise RunError(f"{process.name} dies again and again: {process.last_line()} (see {process.log})")
                status = process.child.returncode if process.child else None
                self._report(f"{process.name} ended with {status}: starting it again")
                process.signal(signal.SIGKILL)
                process.start()

    def fail_on_death(self) -> None:
        """Raise RunError if a started process has ended. For the time before all processes are ready."""
        for process in self._processes:
            if process.starts and process.has_ended():
                raise RunError(f"{process.name} did not start: {process.last_line()} (see {process.log})")

    def stop(self) -> None:
        """End the processes in reverse order. The first process, the shipper, ends last, because it moves the last rows."""
        shipper, *others = self._processes
        for group in (list(reversed(others)), [shipper]):
            for process in group:
                process.signal(signal.SIGTERM)
            _wait(group, STOP_SECONDS)
            for process in group:
                process.signal(signal.SIGKILL)
                if process.child is not None:
                    process.child.wait()


def _wait(processes: Sequence[Process], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not all(process.has_ended() for process in processes):
        time.sleep(0.05)


def _end_with_parent() -> None:
    """Have the kernel end this process if the demo is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
