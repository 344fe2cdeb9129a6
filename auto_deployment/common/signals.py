"""TERM and Ctrl-C end a run between two steps, where nothing is half done."""

from __future__ import annotations

import signal


class StoppedError(Exception):
    """A run was stopped between two steps; `status` is 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


class Stop:
    """Handles TERM and Ctrl-C from now on."""

    def __init__(self) -> None:
        self._number = 0
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._note)

    def asked(self) -> bool:
        """Whether a signal asked for the end."""
        return bool(self._number)

    def check(self) -> None:
        """Raise StoppedError if a signal asked for the end."""
        if self._number:
            raise StoppedError(self._number)

    def _note(self, number: int, _frame: object) -> None:
        self._number = number
