"""How far a command is, on standard error."""

from collections.abc import Callable
from time import monotonic
from typing import TextIO

BAR = 30
REDRAWN_EVERY, TOLD_EVERY = 0.2, 5.0


def bar(done: int, total: int, unit: str, seconds: float) -> str:
    """Write one line, such as `[######------------------------] 20 %  200 of 1,000 lines, 100/s`."""
    share = min(1.0, done / total)
    filled = int(share * BAR)
    pace = done / seconds if seconds > 0 else 0.0
    return f"[{'#' * filled}{'-' * (BAR - filled)}] {share:.0%}  {done:,} of {total:,} {unit}, {pace:,.0f}/s"


class Progress:
    """Tells how far a command is: one line drawn again and again on a terminal, a line now and then elsewhere."""

    def __init__(self, stream: TextIO | None, total: int, unit: str, clock: Callable[[], float] = monotonic) -> None:
        """Tell nothing when `stream` is None."""
        self._stream = stream
        self._total, self._unit, self._clock = total, unit, clock
        self._terminal = stream is not None and stream.isatty()
        self._begun = self._told = clock()

    def show(self, done: int) -> None:
        """Say that so much is done, if it is time to say something."""
        if self._stream and self._clock() - self._told >= (REDRAWN_EVERY if self._terminal else TOLD_EVERY):
            self._told = self._clock()
            self._tell(done, "" if self._terminal else "\n")

    def finish(self, done: int) -> None:
        """Complete the line on a terminal."""
        if self._stream and self._terminal:
            self._tell(done, "\n")

    def _tell(self, done: int, end: str) -> None:
        if self._stream:
            line = bar(done, self._total, self._unit, self._clock() - self._begun)
            self._stream.write(("\r\x1b[K" if self._terminal else "") + line + end)
            self._stream.flush()
