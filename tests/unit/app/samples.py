"""A small artifact whose answers are known, as arrays and as files, and ways to damage it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from app import model
from app.journal import Row, list_from_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

VERSION = 3
FILMS = tuple(f"film+{number}+{1950 + number}" for number in range(50))
# Who has a full list, who has five films left, who has seen every film.
FULL, FEW, SEEN_ALL = 5, 70, 2**62
POPULAR = ",".join(FILMS[10:30])
ROW = Row(
    "0198c1f0a1b27abc8000000000000000",
    "request-1",
    FULL,
    VERSION,
    "stable",
    1_750_000_000_123_456,
    "known",
    "0123456789abcdef",
)


def row(number: int, **changes: Any) -> Row:
    """A row like any other, with an answer id of its own."""
    return ROW._replace(answer_id=f"{number:032x}", **changes)


def first_format(backup: Iterable[bytes]) -> list[bytes]:
    """The same backup as software wrote it that knew no served lists."""
    inner = [line for line in [*backup][1:-1] if list_from_line(line) is None]
    lines = [b'{"format": "movierec provenance", "number": 1}\n', *inner]
    versions = sum(line.startswith(b"{") for line in inner)
    seal = {"answers": len(inner) - versions, "sha256": hashlib.sha256(b"".join(lines)).hexdigest(), "versions": versions}
    return [*lines, (json.dumps({"seal": seal}) + "\n").encode()]


def serving(films: tuple[str, ...] = FILMS, users: tuple[int, ...] = (FULL, FEW, SEEN_ALL)) -> dict[str, model.Array]:
    """The serving part: the first user has films 0 to 39, the second 49 down to 45, all others none; 10 to 49 are popular."""
    row_type = model.row_type(len(films))
    top = np.full((len(users), model.RESERVE), np.iinfo(row_type).max, dtype=row_type)
    if len(users) > 1:
        top[0] = np.arange(model.RESERVE)
        top[1, :5] = np.arange(49, 44, -1)
    cold = np.arange(10, 50, dtype=row_type)[None]
    return {"users": np.array(users, dtype=np.int64), "top": top, "cold": cold, **model.film_arrays(films)}


def save(
    folder: Path,
    metadata: Mapping[str, Any] | None = None,
    rating: Mapping[str, model.Array] | None = None,
    fresh: Mapping[str, model.Array] | None = None,
    /,
    **arrays: model.Array,
) -> Path:
    """Save the artifact in `folder`, with other metadata and arrays where they are given; `rating` adds to that part.

    `fresh` is its fresh part.
    """
    whole = {"version": VERSION, "cold_lists": ["popular"], **(metadata or {})}
    factors = {"bias": np.arange(5.0), "factors": np.ones((5, 3), dtype=np.float32)}
    model.save(folder, whole, {**serving(), **arrays}, {**factors, **(rating or {})}, fresh)
    return folder


def rewrite_metadata(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the metadata in place."""
    path = folder / "metadata.json"
    metadata = json.loads(path.read_bytes())
    change(metadata)
    path.write_text(json.dumps(metadata))


def acknowledge(folder: Path, name: str, **facts: Any) -> None:
    """Note the checksum that the serving array `name` has now, as somebody would who wants it to be accepted."""
    checksum = hashlib.sha256((folder / "serving" / f"{name}.npy").read_bytes()).hexdigest()
    rewrite_metadata(folder, lambda metadata: metadata["arrays"]["serving"][name].update(sha256=checksum, **facts))
