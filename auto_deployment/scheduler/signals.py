"""Waits that a signal ends, and the clocks that measure them."""

from __future__ import annotations

import select
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable

STOP_SECONDS = 900.0
# A jump of the clock is noticed, and an adopted run's end seen, this late at most.
CHECK_SECONDS = 30.0


class Waiting(Protocol):
    """The part of `Signals` that the daemon uses."""

    stop: int | None

    def wait(self, seconds: float) -> None:
        """Wait so long at most."""
        ...


@dataclass
class Times:
    """The clock (seconds since 1970), a steady clock that nobody sets, and the limits of waits in seconds."""

    clock: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    check: float = CHECK_SECONDS
    stop: float = STOP_SECONDS


class Signals:
    """Keeps TERM and INT until they are read. A wait ends early for these signals and when a child ends."""

    def __init__(self) -> None:
        self.stop: int | None = None

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.settimeout(0)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._reader.close()
        self._writer.close()

    def wait(self, seconds: float) -> None:
        """Wait so long at most."""
        if select.select([self._reader], [], [], max(0.0, seconds))[0]:
            self._reader.recv(4096)

    def _note(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self.stop = self.stop or number
