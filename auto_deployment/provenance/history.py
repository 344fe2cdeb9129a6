"""What a user had rated and watched in the data of a version.

The rows come from the tables up to its end, or from the parts.
"""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.model import md5_of
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.ingestion.collect_with_progress import collect_files
from auto_deployment.ingestion.events import in_microseconds
from auto_deployment.ingestion.sources import SAMPLE
from auto_deployment.provenance.version_files import GoneError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from auto_deployment.provenance.version_files import VersionFiles

BLOCK_BYTES = 1 << 24
RATINGS, WATCHES = "clean_rating", "clean_watch"


@dataclass(frozen=True)
class HistoryFilm:
    """A film that a user rated, watched, or both. `stars` is the latest rating, `minutes` all that was watched."""

    film: str
    stars: float | None
    rated_at: str | None
    minutes: int


def history(files: VersionFiles, number: int, user: int, data: Mapping[str, Mapping[str, Any]]) -> list[HistoryFilm]:
    """The user's films, in the order in which they came; `data` has the tables' md5 by file, as the model's metadata tells.

    Raises GoneError if the rows are missing.
    """
    rated, watched = (list(_lines(files, number, table, user, data)) for table in (RATINGS, WATCHES))
    return combine(rated, watched)


def combine(ratings: Iterable[str], watches: Iterable[str]) -> list[HistoryFilm]:
    """The rows of one user, each film once. Of several ratings the latest counts, of equal microseconds the later row."""
    found: dict[str, HistoryFilm] = {}
    for line in ratings:
        _, film, stars, rated_at = line.split(",")
        known = found.get(film)
        if known is None or known.rated_at is None or in_microseconds(rated_at) >= in_microseconds(known.rated_at):
            found[film] = HistoryFilm(film, float(stars), rated_at, 0)
    for line in watches:
        _, film, minutes, _ = line.split(",")
        known = found.get(film, HistoryFilm(film, None, None, 0))
        found[film] = replace(known, minutes=known.minutes + int(minutes))
    return list(found.values())


def lines_of(path: Path, user: int, stop: int | None) -> Iterator[str]:
    """The lines of `user` among the first `stop` bytes of a table, or in all of it, read in blocks."""
    start, rest, left = f"{user},".encode(), b"", path.stat().st_size if stop is None else stop
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(BLOCK_BYTES, left))):
            left -= len(block)
            whole, _, rest = (rest + block).rpartition(b"\n")
            # A search before a split: of a thousand blocks only a few hold a line of the user.
            if whole.startswith(start) or b"\n" + start in whole:
                yield from (line.decode("ascii") for line in whole.split(b"\n") if line.startswith(start))


def _lines(files: VersionFiles, number: int, table: str, user: int, data: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    path = files.places.data / f"{table}.csv"
    if not files.is_published(number):
        yield from lines_of(_unreleased(files, path, data.get(path.name, {}).get("md5")), user, None)
        return
    sizes: Mapping[str, int] = (files.committed(number, files.places.offsets) or {}).get("sizes", {})
    if table in sizes and path.exists() and path.stat().st_size >= sizes[table]:
        yield from lines_of(path, user, sizes[table])
        return
    for each in range(1, number + 1):
        yield from lines_of(files.part(each, table), user, None)


def _unreleased(files: VersionFiles, path: Path, md5: str | None) -> Path:
    """The table of a version that git does not name: the one here, or the sample's, if it has the md5 of its data."""
    if path.exists() and md5 in {None, md5_of(path)}:
        return path
    kept = files.cache / "sample" / path.name
    if md5 is not None and not kept.exists():
        _collect_sample(kept.parent)
    if kept.exists() and md5 == md5_of(kept):
        return kept
    raise GoneError(f"neither {path} nor the shipped sample is what it was trained on (md5 {md5})")


def _collect_sample(folder: Path) -> None:
    aside = folder.with_name(".sample.new")
    shutil.rmtree(aside, ignore_errors=True)
    collect_files([SAMPLE], load_settings(data_dir=aside), Progress(io.StringIO()))
    aside.replace(folder)
