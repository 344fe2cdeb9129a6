"""Where new lines come from: the end of a file that grows. `app.fresh.topic` has the other source."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LARGEST_READ = 256 << 10


class SourceError(OSError):
    """The source cannot be read now; the text says why. The next `poll` tries again."""


class Source(Protocol):
    """New lines of the stream. `marks` are JSON: a source with the same marks continues after the same line.

    `as_of` is a time in seconds since 1970: every line that had come by then was read. 0 before the first time that all were.
    `lost` counts the lines that were gone before they could be read.
    """

    name: str
    as_of: float
    lost: int

    @property
    def marks(self) -> Mapping[str, int]:
        """How far it was read."""
        ...

    def poll(self) -> list[str]:
        """The next lines; empty where none have come. Raises OSError."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class FileSource:
    """The lines that are appended to a file. A file that is not there yet, or shorter than before, is read from its start."""

    def __init__(self, path: Path, start: int, marks: Mapping[str, int]) -> None:
        """`start` in bytes, for a file that `marks` do not name."""
        self.name = str(path)
        self.as_of = 0.0
        self.lost = 0
        self._path = path
        self._at = int(marks.get(self.name, start))
        self._skips = False

    @property
    def marks(self) -> Mapping[str, int]:
        """See `Source`. In bytes."""
        return {self.name: self._at}

    def poll(self) -> list[str]:
        """See `Source`. A last line without its end is left for later. Bytes that are not UTF-8 are preserved."""
        now = time.time()
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._at:
            self._at, self._skips = 0, False
        if size == self._at:
            self.as_of = now
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            content = file.read(LARGEST_READ)
        end = content.rfind(b"\n") + 1
        if len(content) < LARGEST_READ:
            self.as_of = now
        elif not end:
            # No line is that long. What is left of this one is no line either.
            self._at, self._skips = self._at + len(content), True
            return []
        self._at += end
        # Only a line feed ends a line, as in the collection of the tables.
        lines = content[: max(end - 1, 0)].split(b"\n") if end else []
        if lines and self._skips:
            lines, self._skips = lines[1:], False
        return [line.decode("utf-8", "surrogateescape") for line in lines]

    def close(self) -> None:
        """See `Source`. Nothing is open between two calls."""
