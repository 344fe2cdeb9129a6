"""What a user had rated and watched in the data of a version.

The rows come from the ratings' table up to its end, or from the parts.
"""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from app.events import in_microseconds
from app.model import md5_of
from auto_deployment.common.database import Database, Error
from auto_deployment.common.errors import first_line
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.ingestion import watch_parts
from auto_deployment.ingestion.collect_with_progress import collect_files
from auto_deployment.ingestion.sources import SAMPLE
from auto_deployment.ingestion.tables import Tables
from auto_deployment.provenance.version_files import GoneError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from auto_deployment.provenance.version_files import VersionFiles

BLOCK_BYTES = 1 << 24
RATINGS, WATCHES = "clean_rating", "clean_watch"


@dataclass(frozen=True)
class HistoryFilm:
    """A film that a user rated, watched, or both. `stars` is the latest rating, `minutes` all that was watched.

    `last_at` is the later time of rating and last watch, with 6 decimals.
    """

    film: str
    stars: float | None
    rated_at: str | None
    minutes: int
    last_at: str = field(default="", compare=False)


def history(files: VersionFiles, number: int, user: int, data: Mapping[str, Mapping[str, Any]]) -> list[HistoryFilm]:
    """The user's films: those with a rating first, then the rest, each in the order in which they came.

    `data` has the tables' md5 by file, as the model's metadata tells. Raises GoneError if the rows are missing.
    """
    if not files.is_published(number):
        tables = _unreleased(files, data.get("clean_rating.csv", {}).get("md5"))
        return combine(lines_of(tables.ratings, user, None), _watched(lines_of(tables.watches, user, None)))
    watches = _watches(files, files.parts(number, WATCHES), user)
    return combine(_ratings(files, number, user), watches)


def combine(ratings: Iterable[str], watches: Iterable[tuple[str, int, str]]) -> list[HistoryFilm]:
    """The rows of one user, each film once. Of several ratings the latest counts, of equal microseconds the later row.

    `ratings` are lines of the table, `watches` films with minutes, which add up, and the last time.
    """
    found: dict[str, HistoryFilm] = {}
    for line in ratings:
        _, film, stars, rated_at = line.split(",")
        known = found.get(film)
        if known is None or known.rated_at is None or in_microseconds(rated_at) >= in_microseconds(known.rated_at):
            found[film] = HistoryFilm(film, float(stars), rated_at, 0, in_microseconds(rated_at))
    for film, minutes, last_at in watches:
        known = found.get(film, HistoryFilm(film, None, None, 0))
        last = max(known.last_at, in_microseconds(last_at))
        found[film] = replace(known, minutes=known.minutes + minutes, last_at=last)
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


def _ratings(files: VersionFiles, number: int, user: int) -> Iterator[str]:
    path = files.places.data / f"{RATINGS}.csv"
    size = (files.committed(number, files.places.offsets) or {}).get("sizes", {}).get(RATINGS)
    if size is not None and path.exists() and path.stat().st_size >= size:
        yield from lines_of(path, user, size)
        return
    for part in files.parts(number, RATINGS):
        yield from lines_of(part, user, None)


def _watches(files: VersionFiles, parts: Sequence[Path], user: int) -> list[tuple[str, int, str]]:
    """Films, minutes and last times of the user: of CSV parts row by row, of Parquet parts by the time of the first minute."""
    rows = [row for part in parts if part.suffix == ".csv" for row in _watched(lines_of(part, user, None))]
    if rolled := [part for part in parts if part.suffix == ".parquet"]:
        columns = "movie_id, minutes, strftime(last_at, '%Y-%m-%dT%H:%M:%S.%f')"
        query = f"SELECT {columns} FROM {watch_parts.relation(rolled)} WHERE user_id = {user}"
        try:
            with Database(files.cache / "scratch") as database:
                rows += database.rows(f"{query} ORDER BY first_at, movie_id")
        except Error as error:
            raise GoneError(f"the parts of the watches cannot be read ({first_line(error)}): restore them") from error
    if any(None in row for row in rows):
        raise GoneError(f"a part of the watches has a row of user {user} with empty fields: restore it")
    return rows


def _watched(lines: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    """Films, minutes and last times of lines that begin with user, film and minutes, and end with the last time."""
    for line in lines:
        _, film, minutes, *_, last_at = line.split(",")
        yield film, int(minutes), last_at


def _unreleased(files: VersionFiles, md5: str | None) -> Tables:
    """The tables of a version that git does not name: those here, or the sample's, if its ratings have the md5 of its data."""
    here, sample = files.places.data, files.cache / "sample"
    if (path := Tables(here).ratings).exists() and Tables(here).watches.exists() and md5 in {None, md5_of(path)}:
        return Tables(here)
    if md5 is not None and not Tables(sample).watches.exists():  # software before 1.1 kept them under another name
        _collect_sample(sample)
    if md5 is not None and md5 == md5_of(Tables(sample).ratings):
        return Tables(sample)
    raise GoneError(f"neither {path} nor the shipped sample is what it was trained on (md5 {md5})")


def _collect_sample(folder: Path) -> None:
    aside = folder.with_name(".sample.new")
    for each in (aside, folder):
        shutil.rmtree(each, ignore_errors=True)
    collect_files([SAMPLE], load_settings(data_dir=aside), Progress(io.StringIO()))
    aside.replace(folder)
