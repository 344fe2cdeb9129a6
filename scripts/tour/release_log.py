"""The log of a release as its reader needs it: each step once, and a line of the bake now and then."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BAKING = re.compile(r"(?P<begin>.* [\d.]+ min: baking)\b.*")
VERSION = re.compile(r"(?<=^\d\d:\d\d:\d\d)  version \d+:")
BAKING_LINES = 4


class ReleaseLog:
    """Reads a growing log. A release writes its exit status next to the log when it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._status = path.with_name(f"{path.name}.status")
        self._read = 0
        self._baking = 0

    def has_ended(self) -> bool:
        """Whether the release has written its status. Lines that follow in `new_lines` are its last ones."""
        return self._status.exists()

    def new_lines(self) -> Iterator[str]:
        """The whole lines since the last call, shortened. Of the lines of a bake every fourth."""
        lines = self.path.read_text(errors="replace").split("\n")[:-1]
        for line in lines[self._read :]:
            self._read += 1
            baking = BAKING.fullmatch(line)
            if baking is not None:
                self._baking += 1
                if self._baking % BAKING_LINES:
                    continue
            # The reasons of a verdict that is not ready yet confuse.
            yield VERSION.sub("", line if baking is None else baking["begin"])
