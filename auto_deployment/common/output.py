"""Output for people: columns of text, and standard output and error that cannot fail a program."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import ReadableBuffer


def keep_output() -> None:
    """Make standard output and error unable to raise from now on. Call it first in `main`.

    A closed pipe, a full disk or a terminal that is gone ends the output. All but the closed pipe are reported once on
    standard error. A character that the encoding lacks is replaced. A descriptor that was closed is opened on /dev/null, so
    that no other file gets its number and with it what child processes print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - it has no name; the lowest free number is this
    for name, number, errors in (("stdout", 1, "replace"), ("stderr", 2, "backslashreplace")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # not where a test or a program has put its own
            encoding = getattr(stream, "encoding", "utf-8")
            kept = io.BufferedWriter(_Kept(number, "wb", closefd=False))
            setattr(sys, name, io.TextIOWrapper(kept, encoding, errors, line_buffering=True))


class _Kept(io.FileIO):
    """A descriptor that becomes /dev/null when it cannot be written."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            written = super().write(data)
        except OSError as error:
            self._give_up(error)
            written = None
        return memoryview(data).nbytes if written is None else written  # None too: a pipe that is full and must not block

    def _give_up(self, error: OSError) -> None:
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
        if error.errno != errno.EPIPE and self.fileno() == 1:
            sys.stderr.write(f"standard output: {error.strerror}: the rest is not shown\n")


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
