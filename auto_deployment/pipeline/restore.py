"""Build the tables again from the parts of all versions.

Rows collected after the last version are not in the parts. Their offsets are dropped too. The next run reads these lines again,
as far back as the stream's retention goes.
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

from auto_deployment.common.json_file import StateError, read_json
from auto_deployment.common.process import CommandError
from auto_deployment.ingestion import collector
from auto_deployment.ingestion.tables import Tables
from auto_deployment.pipeline import pending_version
from auto_deployment.pipeline.pending_version import PendingVersion
from auto_deployment.training.pair_table import FOLDER
from auto_deployment.versioning.repository import RATINGS, WATCHES, Places, Versions, rebuild

log = logging.getLogger(__name__)

LOCK = ".run.lock"


def restore(places: Places, versions: Versions, *, anew: bool = False) -> bool:
    """Build tables and collection state as of the last version where there is no state, as in a fresh clone, or `anew`.

    `anew` also drops a pending version that no commit names: its rows go with the tables. Returns whether anything was done.
    Raises StateError where the parts do not add up to the sizes that the last version recorded.
    """
    path = places.data / collector.FILE
    if anew:
        _drop_pending(places, versions)
    offsets = read_json(places.offsets)
    if offsets is None or (path.exists() and not anew):
        return False
    numbers = versions_of(places)
    log.info("building the tables again from the parts of %d versions", len(numbers))
    earlier = {number: places.earlier_part(number) for number in versions.earlier_parts()}
    parts = [places.part(RATINGS, number) for number in numbers]
    parts += [earlier.get(number, places.part(WATCHES, number)) for number in numbers]
    versions.pull(*(Path(f"{part}.dvc") for part in parts if not part.exists()))
    table = rebuild(places, numbers)
    expected = int(offsets["sizes"][table.stem])
    if table.stat().st_size != expected:
        raise StateError(f"{table}: {table.stat().st_size:,} bytes from its parts instead of {expected:,}: is one damaged?")
    shutil.rmtree(places.data / FOLDER, ignore_errors=True)
    tables = Tables(places.data)
    tables.roll(max(numbers))
    tables.watches.unlink(missing_ok=True)
    collector.CollectionState(
        format=1, marks=offsets["marks"], sizes={**tables.sizes(), table.stem: expected}, version=max(numbers)
    ).save(path)
    _drop_old(versions, max(numbers))
    return True


def _drop_pending(places: Places, versions: Versions) -> None:
    """Drop a pending version that is not committed."""
    path = places.data / pending_version.FILE
    pending = PendingVersion.load(path)
    if pending is not None and pending.stage == "begun" and not versions.is_committed(pending.number):
        log.info("giving up version %d, which no commit names yet", pending.number)
        versions.discard(pending.number)
        path.unlink()


def _drop_old(versions: Versions, number: int) -> None:
    """Drop the older parts, as after a push, if the DVC remote certainly has them."""
    try:
        unpushed = versions.unpushed()
    except CommandError as error:
        log.warning("older parts stay here: git cannot say whether they were pushed: %s", error.words)
        return
    if not unpushed:
        versions.drop_old(number)


def versions_of(places: Places) -> list[int]:
    """The numbers of the versions that git names, ascending."""
    names = (re.fullmatch(r"clean_rating_(\d+)\.csv\.dvc", path.name) for path in places.versioning.glob("*.dvc"))
    return sorted(int(found[1]) for found in names if found is not None)
