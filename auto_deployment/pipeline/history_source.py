"""The history of a version as files: it writes the version's parts, fetches missing earlier parts, and hashes the ratings."""

from __future__ import annotations

import hashlib
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from app.model import md5_of
from auto_deployment.common.database import BLOCK_BYTES
from auto_deployment.common.errors import RefusedError, RunError
from auto_deployment.ingestion import watch_parts
from auto_deployment.ingestion.tables import OPEN_WATCHES, open_watches
from auto_deployment.training.pair_table import FOLDER, SCRATCH, Source
from auto_deployment.versioning.pointers import version_of
from auto_deployment.versioning.repository import RATINGS, WATCHES, parts_of, write_rating_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future

    from auto_deployment.pipeline.pending_version import PendingVersion
    from auto_deployment.reports.version_report import EarlierReport
    from auto_deployment.versioning.repository import Places, Versions


def write_parts(places: Places, pending: PendingVersion, open_since: int, memory: str) -> None:
    """Write the parts of a version: the ratings that came in, and the watches that are open since version `open_since`.

    Raises RefusedError naming the first wrong row of the watches.
    """
    write_rating_part(places, pending.number, pending.starts[RATINGS], pending.stops[RATINGS])
    rows, part = open_watches(places.data, open_since), places.part(WATCHES, pending.number)
    watch_parts.roll(rows, part, places.data / FOLDER / SCRATCH, memory, pending.stops[OPEN_WATCHES])


def source_of(places: Places, versions: Versions, pending: PendingVersion, previous: EarlierReport | None) -> Source:
    """What the pair table of a version is made from. Its own parts must be written. `previous` is the last version's report."""
    number = pending.number
    named = parts_of(places)
    md5s = {name: md5 for name, md5 in named.items() if version_of(name) < number and not _is_earlier(name)}
    # Converted parts get their .dvc files in this version's commit.
    new = [places.part(WATCHES, each) for each in versions.earlier_parts()]
    new += [places.part(RATINGS, number), places.part(WATCHES, number)]
    md5s |= {path.name: md5_of(path) for path in new}

    def watches(after: int) -> Mapping[int, Path]:
        versions_there = sorted(version_of(name) for name in md5s if name.startswith(WATCHES))
        parts = {each: places.part(WATCHES, each) for each in versions_there if each > after}
        if missing := [Path(f"{part}.dvc") for part in parts.values() if not part.exists()]:
            versions.pull(*missing)
        for part in parts.values():
            if md5_of(part) != md5s.get(part.name):
                raise RunError(f"{part}: its MD5 is not the one in git: restore it with python -m auto_deployment.restore")
        return parts

    ratings, recorded = f"{RATINGS}.csv", None
    # Software before 1.1 hashed the whole file, perhaps with rows of no version. Its reports do not name WATCHES.
    if previous is not None and WATCHES in previous.data.data:
        recorded = pending.starts[RATINGS], previous.data.data[ratings].md5
    return Source(number, places.data / ratings, pending.stops[RATINGS], watches, dict(sorted(md5s.items())), recorded)


@contextmanager
def hashed_ratings(source: Source) -> Iterator[Future[str]]:
    """The MD5 of the ratings of `source`, which a thread computes while the block runs. The thread ends with the block.

    Its result raises RefusedError where the file does not begin with the ratings of the last version, RunError where it cannot
    be read.
    """
    ended = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(_md5_of_ratings, source, ended)
        finally:
            ended.set()


def _md5_of_ratings(source: Source, ended: Event) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    recorded = [] if source.recorded is None else [source.recorded]
    try:
        with source.ratings.open("rb") as file:
            for stop, expected in (*recorded, (source.rating_bytes, None)):
                while (left := stop - file.tell()) > 0 and (block := file.read(min(left, BLOCK_BYTES))):
                    if ended.is_set():
                        raise CancelledError
                    digest.update(block)
                if expected not in {None, digest.hexdigest()}:
                    raise RefusedError(
                        f"{source.ratings}: its first {stop:,} bytes are not those of the last version: "
                        "restore it with python -m auto_deployment.restore"
                    )
    except OSError as error:
        raise RunError(
            f"{source.ratings}: it cannot be read ({error.strerror}): restore it with python -m auto_deployment.restore"
        ) from error
    return digest.hexdigest()


def _is_earlier(name: str) -> bool:
    """Whether a part of watches is one of software before 1.1."""
    return name.startswith(WATCHES) and name.endswith(".csv")
