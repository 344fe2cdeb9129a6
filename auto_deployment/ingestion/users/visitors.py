"""Who came lately: users that the stream names as asking, rating or joining, whom the film service can tell about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read(data: Path, most: int) -> list[int]:
    """The users in the visitors' files of a data folder, each once, those who came last first; at most so many."""
    found: dict[int, None] = {}
    for path in sorted((data / "visitors").glob("recent*.jsonl"), key=_since, reverse=True):
        for line in reversed(path.read_text(encoding="ascii").splitlines()):
            found.setdefault(int(line))
            if len(found) >= most:
                return list(found)
    return list(found)


def _since(path: Path) -> int:
    return int(path.stem.rpartition("_")[2]) if "_" in path.stem else 0
