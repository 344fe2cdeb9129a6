"""What the tour prints, and the time limit of each step."""

from __future__ import annotations

import signal
import subprocess
import textwrap
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from scripts.simulator.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

WIDTH = 100
INDENT = " " * 6


def shown(path: Path) -> str:
    """A path as people type it: relative to the current folder if the path is in it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


@dataclass(frozen=True)
class StepTime:
    """A step that ended. `seconds`: the time that it took."""

    number: int
    title: str
    seconds: float


class StepError(RunError):
    """A step failed. The message names the step and the reason."""


class StepTimeoutError(RunError):
    """A step did not end within its time limit."""


class Narrator:
    """Prints the steps of the tour with their numbers, explanations, places to look and times.

    Only the main thread may run steps, because their limits are alarms.
    """

    def __init__(self, stream: TextIO, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._steps = steps
        self._clock = clock
        self.times: list[StepTime] = []

    def heading(self, text: str) -> None:
        """Print a line at the left edge, after an empty line."""
        self._print(f"\n{text}")

    def explain(self, text: str) -> None:
        """Print a paragraph."""
        for line in textwrap.wrap(text, WIDTH - len(INDENT), break_long_words=False, break_on_hyphens=False):
            self._print(f"{INDENT}{line}")

    def say(self, line: str) -> None:
        """Print one thing that happened. A long line continues below, indented."""
        for part in textwrap.wrap(line, WIDTH - len(INDENT) - 2, subsequent_indent="    ", break_on_hyphens=False):
            self._print(f"{INDENT}  {part}")

    def look(self, what: str, where: str) -> None:
        """Print where to see something: an address, a file or a command."""
        self._print(f"{INDENT}> {what + ':':14} {where}")

    @contextmanager
    def step(self, title: str, explanation: str, seconds: int) -> Iterator[None]:
        """Run the block as the next step. Raises StepError if it fails, or takes more than so many seconds."""
        number = len(self.times) + 1
        began = self._clock()
        self._print(f"\n{number:>2}/{self._steps} {title}")
        self.explain(explanation)

        def stop(_number: int, _frame: object) -> None:
            raise StepTimeoutError(f"not done within {seconds} s")

        signal.signal(signal.SIGALRM, stop)
        signal.alarm(seconds)
        try:
            yield
        except (RunError, SimulatorError, OSError, subprocess.SubprocessError) as error:
            raise StepError(f"step {number} of {self._steps} failed ({title}): {error}") from error
        finally:
            signal.alarm(0)
        self.times.append(StepTime(number, title, self._clock() - began))
        self.say(f"done in {self.times[-1].seconds:.0f} s")

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print names with values, the values in one column."""
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.say(f"{name:{width}}  {value}")

    def _print(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()
