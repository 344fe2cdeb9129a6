"""Where new lines come from: the end of a file that grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LARGEST_READ = 256 << 10


class Source(Protocol):
    """New lines of the stream. `marks` are JSON: a source with the same marks continues after the same line."""

    name: str

    @property
    def marks(self) -> Mapping[str, int]:
        """How far it was read."""
        ...

    def poll(self) -> list[str]:
        """The next lines, without waiting for more; empty where there are none. Raises OSError."""
        ...


class FileSource:
    """The lines that are appended to a file. A file that is not there yet, or shorter than before, is read from its start."""

    def __init__(self, path: Path, start: int, marks: Mapping[str, int]) -> None:
        """`start` in bytes, for a file that `marks` do not name."""
        self.name = str(path)
        self._path = path
        self._at = int(marks.get(self.name, start))
        self._skips = False

    @property
    def marks(self) -> Mapping[str, int]:
        """See `Source`. In bytes."""
        return {self.name: self._at}

    def poll(self) -> list[str]:
        """See `Source`. A last line without its end is left for later. Bytes that are not UTF-8 are preserved."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._at:
            self._at, self._skips = 0, False
        if size == self._at:
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            content = file.read(LARGEST_READ)
        end = content.rfind(b"\n") + 1
        if not end and len(content) == LARGEST_READ:
            # No line is that long. What is left of this one is no line either.
            self._at, self._skips = self._at + len(content), True
            return []
        self._at += end
        # Only a line feed ends a line, as in the collection of the tables.
        lines = content[: max(end - 1, 0)].split(b"\n") if end else []
        if lines and self._skips:
            lines, self._skips = lines[1:], False
        return [line.decode("utf-8", "surrogateescape") for line in lines]
