"""Progress of long work: a bar on a terminal, plain lines in a log. Every stage ends with a line of its time and memory."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from auto_deployment.common.memory import peak_of_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

log = logging.getLogger(__name__)

PLAIN_EVERY_SECONDS = 5.0


class Task:
    """One piece of long work with a known total."""

    def __init__(self, total: int, show: Callable[[int, str], None]) -> None:
        self._total = total
        self._done = 0
        self._show = show
        self._noted = ""

    def advance(self, by: int = 1) -> None:
        """Add `by` to what is done."""
        self.advance_to(self._done + by)

    def advance_to(self, done: int) -> None:
        """Set what is done to `done`."""
        self._done = min(done, self._total)
        self._show(self._done, self._noted)

    def note(self, text: str) -> None:
        """A note to show next to the progress, from the next advance on."""
        self._noted = text


class Progress:
    """Prints the progress of the work and its notes to a stream."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock

    def say(self, line: str) -> None:
        """Print a line of its own."""
        self._stream.write(f"  {line}\n")
        self._stream.flush()

    def heading(self, line: str) -> None:
        """Begin the next step."""
        self._stream.write(f"{line}\n")
        self._stream.flush()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Print and log `NAME: 12.3 s, peak 0.81 GB` when the block ends: its time, and the peak of all our processes."""
        begun = self._clock()
        try:
            with peak_of_tree() as peak:
                yield
        finally:
            line = f"{name}: {self._clock() - begun:.1f} s, peak {peak.gb:.2f} GB"
            self.say(line)
            log.info("%s", line)

    @contextmanager
    def task(self, name: str, total: int, unit: str) -> Iterator[Task]:
        """A task of `total` units."""
        if self._stream.isatty():
            columns = (
                TextColumn("  {task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[noted]}"),
            )
            with Bar(*columns, console=Console(file=self._stream), transient=True) as bar:
                shown = bar.add_task(name, total=total, noted="")
                yield Task(total, lambda done, noted: bar.update(shown, completed=done, noted=noted))
        else:
            yield Task(total, self._plain(name, total, unit))

    def _plain(self, name: str, total: int, unit: str) -> Callable[[int, str], None]:
        """Shows a line at most every five seconds, so that short work shows none."""
        told_at = self._clock()

        def show(done: int, noted: str) -> None:
            nonlocal told_at
            if self._clock() - told_at >= PLAIN_EVERY_SECONDS:
                told_at = self._clock()
                self.say(f"{name}: {done:,} of {total:,} {unit}" + (f", {noted}" if noted else ""))

        return show
