from __future__ import annotations

import io
from dataclasses import dataclass

import pytest

from scripts.simulator.sink import ProgressLine, bar


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Pretend."""
        return True


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        """The time that was set."""
        return self.now


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (0, "[------------------------------] 0%  0 of 1,000 lines, 0/s"),
        (500, "[###############---------------] 50%  500 of 1,000 lines, 250/s"),
        (1000, "[##############################] 100%  1,000 of 1,000 lines, 500/s"),
    ],
)
def test_a_bar_shows_share_and_pace(done: int, expected: str) -> None:
    """The line says how much of what is done, and how fast."""
    assert bar(done, 1000, "lines", 2.0) == expected


def test_a_file_gets_a_line_now_and_then() -> None:
    """Away from a terminal there is a plain line every five seconds, however often progress is shown."""
    stream, clock = io.StringIO(), Clock()
    progress = ProgressLine(stream, 100, "lines", clock)
    for second in range(12):
        clock.now = float(second)
        progress.show(second)
    progress.finish(100)
    assert [line.split("]")[1].split(" of ")[0] for line in stream.getvalue().splitlines()] == [" 5%  5", " 10%  10"]


def test_a_terminal_gets_one_line_drawn_again() -> None:
    """Each drawing returns to the beginning of the line; the end completes it."""
    stream, clock = Terminal(), Clock()
    progress = ProgressLine(stream, 4, "lines", clock)
    for step in range(4):
        clock.now = step / 2
        progress.show(step)
    progress.finish(4)
    assert stream.getvalue().count("\r") == 4
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("\n")


def test_quiet_is_quiet() -> None:
    """Without a stream nothing is told, and nothing breaks."""
    progress = ProgressLine(None, 10, "lines")
    progress.show(5)
    progress.finish(10)
