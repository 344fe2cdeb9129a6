"""The outputs for lines, and the progress of a command on standard error."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Protocol, TextIO

from scripts.simulator.errors import InputError, OutputError

BAR = 30
REDRAW_SECONDS, WRITE_SECONDS = 0.2, 5.0


def bar(done: int, total: int, unit: str, seconds: float) -> str:
    """Write one line, such as `[######------------------------] 20 %  200 of 1,000 lines, 100/s`."""
    share = min(1.0, done / total)
    filled = int(share * BAR)
    pace = done / seconds if seconds > 0 else 0.0
    return f"[{'#' * filled}{'-' * (BAR - filled)}] {share:.0%}  {done:,} of {total:,} {unit}, {pace:,.0f}/s"


class ProgressLine:
    """Shows the progress of a command: a line that is redrawn on a terminal, or a new line every few seconds elsewhere."""

    def __init__(self, stream: TextIO | None, total: int, unit: str, clock: Callable[[], float] = monotonic) -> None:
        """Show nothing if `stream` is None."""
        self._stream = stream
        self._total, self._unit, self._clock = total, unit, clock
        self._terminal = stream is not None and stream.isatty()
        self._begun = self._written = clock()

    def show(self, done: int) -> None:
        """Show how much is done, if the last output is old enough."""
        if self._stream and self._clock() - self._written >= (REDRAW_SECONDS if self._terminal else WRITE_SECONDS):
            self._written = self._clock()
            self._write(done, "" if self._terminal else "\n")

    def finish(self, done: int) -> None:
        """Complete the line on a terminal."""
        if self._stream and self._terminal:
            self._write(done, "\n")

    def _write(self, done: int, end: str) -> None:
        if self._stream:
            line = bar(done, self._total, self._unit, self._clock() - self._begun)
            self._stream.write(("\r\x1b[K" if self._terminal else "") + line + end)
            self._stream.flush()


STDOUT = "-"
KAFKA = "kafka://"


class Sink(Protocol):
    """Takes lines one at a time, in order."""

    def write(self, line: str, /) -> None:
        """Take one line, given without its line end."""


class TextSink:
    """Writes to an open text stream."""

    def __init__(self, stream: TextIO, *, live: bool = False) -> None:
        """Write to `stream`; with `live` each line is passed on at once."""
        self._stream = stream
        self._live = live

    def write(self, line: str, /) -> None:
        """Write the line and its end."""
        self._stream.write(line + "\n")
        if self._live:
            self._stream.flush()


class ReaderGoneError(Exception):
    """Nobody reads standard output any more: a quiet end, not a failure."""


@contextmanager
def open_sink(output: str, *, live: bool = False) -> Iterator[Sink]:
    """Open a file by its name, standard output as `-`, or a topic as `kafka://HOST:PORT/TOPIC`.

    A file appears under its name only when it is whole.
    """
    if output.startswith(KAFKA):
        from scripts.simulator.kafka_sink import open_kafka  # noqa: PLC0415 - who writes files needs no library for it

        with open_kafka(*kafka_address(output)) as sink:
            yield sink
        return
    if output == STDOUT:
        with _stdout() as stream:
            yield TextSink(stream, live=live)
        return
    path = Path(output)
    try:
        with _whole(path) if path.is_file() or not path.exists() else _device(path) as stream:
            yield TextSink(stream, live=live)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place with --output") from error


def kafka_address(output: str) -> tuple[str, str]:
    """Split `kafka://HOST:PORT[,HOST:PORT...]/TOPIC` into servers and topic."""
    address = re.fullmatch(r"kafka://([^\s/,]+:\d+(?:,[^\s/,]+:\d+)*)/([A-Za-z0-9._-]+)", output)
    if not address:
        raise InputError(f"{output!r} is no topic: give it as kafka://HOST:PORT/TOPIC")
    return address[1], address[2]


@contextmanager
def _stdout() -> Iterator[TextIO]:
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError as error:
        # What is left in the buffer has nowhere to go; without this the interpreter complains when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ReaderGoneError from error


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _device(path: Path) -> TextIO:
    """Open a pipe or a device, which must not be replaced by a file."""
    return path.open("w", encoding="utf-8", newline="\n")
