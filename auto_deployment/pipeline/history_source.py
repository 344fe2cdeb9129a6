"""The history of a version as files: it writes the version's parts, and fetches earlier parts where they are missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.model import md5_of
from auto_deployment.common.errors import RunError
from auto_deployment.ingestion import watch_parts
from auto_deployment.ingestion.tables import OPEN_WATCHES, open_watches
from auto_deployment.training.pair_table import FOLDER, SCRATCH, Source
from auto_deployment.versioning.pointers import version_of
from auto_deployment.versioning.repository import RATINGS, WATCHES, parts_of, write_rating_part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auto_deployment.pipeline.pending_version import PendingVersion
    from auto_deployment.versioning.repository import Places, Versions


def write_parts(places: Places, pending: PendingVersion, open_since: int, memory: str) -> None:
    """Write the parts of a version: the ratings that came in, and the watches that are open since version `open_since`.

    Raises RefusedError naming the first wrong row of the watches.
    """
    write_rating_part(places, pending.number, pending.starts[RATINGS], pending.stops[RATINGS])
    rows, part = open_watches(places.data, open_since), places.part(WATCHES, pending.number)
    watch_parts.roll(rows, part, places.data / FOLDER / SCRATCH, memory, pending.stops[OPEN_WATCHES])


def source_of(places: Places, versions: Versions, pending: PendingVersion) -> Source:
    """What the pair table of a version is made from. Its own parts must be written."""
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

    return Source(number, places.data / f"{RATINGS}.csv", pending.stops[RATINGS], watches, dict(sorted(md5s.items())))


def _is_earlier(name: str) -> bool:
    """Whether a part of watches is one of software before 1.1."""
    return name.startswith(WATCHES) and name.endswith(".csv")
