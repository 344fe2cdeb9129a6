"""Build the tables again from the parts of all versions.

Rows collected after the last version are not in the parts. Their offsets are forgotten too, and the next run reads these lines
again, as far back as the stream's retention goes.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from auto_deployment.common.json_file import StateError, read_json
from auto_deployment.common.process import CommandError
from auto_deployment.ingestion.collector import RECORD, Record
from auto_deployment.ingestion.tables import Tables
from auto_deployment.pipeline.pending_version import RELEASE, Release
from auto_deployment.versioning.repository import TABLES, Places, Versions, rebuild

log = logging.getLogger(__name__)

LOCK = ".run.lock"


def restore(places: Places, versions: Versions, *, anew: bool = False) -> bool:
    """Where there is no record of the collection, as in a fresh clone, or `anew`: tables and record as of the last version.

    `anew` a release that no commit names yet is given up: its rows go with the tables. Whether anything was done. Raises
    StateError where the parts do not add up to what the last version recorded.
    """
    path = places.data / RECORD
    if anew:
        _give_up(places, versions)
    offsets = read_json(places.offsets)
    if offsets is None or (path.exists() and not anew):
        return False
    numbers = versions_of(places)
    parts = [places.part(table, number) for table in TABLES for number in numbers]
    log.info("building the tables again from the parts of %d versions", len(numbers))
    versions.pull(*(Path(f"{part}.dvc") for part in parts if not part.exists()))
    for table in rebuild(places, numbers):
        expected = int(offsets["sizes"][table.stem])
        if table.stat().st_size != expected:
            raise StateError(f"{table}: {table.stat().st_size:,} bytes from its parts instead of {expected:,}: is one damaged?")
    tables = Tables(places.data)
    tables.roll(max(numbers))
    Record(marks=offsets["marks"], sizes={**tables.sizes(), **offsets["sizes"]}, version=max(numbers)).save(path)
    _drop_old(versions, max(numbers))
    return True


def _give_up(places: Places, versions: Versions) -> None:
    """Forget a release that is begun and not committed."""
    release = Release.load(places.data / RELEASE)
    if release is not None and release.stage == "begun" and not versions.is_committed(release.number):
        log.info("giving up version %d, which no commit names yet", release.number)
        versions.discard(release.number)
        (places.data / RELEASE).unlink()


def _drop_old(versions: Versions, number: int) -> None:
    """As after a push, if the DVC remote is known to have them."""
    try:
        waiting = versions.unpushed()
    except CommandError as error:
        log.warning("older parts stay here: whether they were pushed cannot be asked: %s", error.words)
        return
    if not waiting:
        versions.drop_old(number)


def versions_of(places: Places) -> list[int]:
    """The numbers of the versions that git names, ascending."""
    names = (re.fullmatch(r"clean_rating_(\d+)\.csv\.dvc", path.name) for path in places.versioning.glob("*.dvc"))
    return sorted(int(found[1]) for found in names if found is not None)
