"""Take over the data folder of software before 1.1, whose watches were one CSV table, and CSV parts.

Each part is converted once, to the Parquet part of the same version. Rows of no version become open watches. The CSV files stay
until the next version, whose commit names the converted parts, has been pushed. A kill at any moment is continued.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from app.model import md5_of
from auto_deployment.common.errors import RunError
from auto_deployment.ingestion import collector, watch_parts
from auto_deployment.ingestion.collector import CollectionState
from auto_deployment.ingestion.tables import (
    EARLIER_WATCH_HEADER,
    OPEN_WATCHES,
    WATCH_HEADER,
    TableError,
    open_watches,
)
from auto_deployment.pipeline import pending_version
from auto_deployment.pipeline.pending_version import PendingVersion
from auto_deployment.training.pair_table import FOLDER, SCRATCH
from auto_deployment.versioning.repository import EARLIER_PART, WATCHES

if TYPE_CHECKING:
    from typing import BinaryIO

    from auto_deployment.versioning.repository import Places, Versions

log = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20


def upgrade(places: Places, versions: Versions) -> bool:
    """Convert what software before 1.1 left. Returns whether there was anything. Raises RunError where a part is damaged."""
    pointers = [path.name for path in places.versioning.glob("*.csv.dvc")]
    found = {int(each[1]) for each in map(EARLIER_PART.fullmatch, pointers) if each is not None}
    earlier = sorted(found & set(versions.earlier_parts())) if found else []
    for number in found - set(earlier):  # a version that was begun: its rows are still those of no version
        Path(f"{places.earlier_part(number)}.dvc").unlink()
        places.earlier_part(number).unlink(missing_ok=True)
    missing = [number for number in earlier if not places.part(WATCHES, number).exists()]
    if missing:
        log.info("converting the watches of %d versions to Parquet, once", len(missing))
        _convert(places, versions, earlier, missing)
    state = CollectionState.load(places.data / collector.FILE)
    if state is None or WATCHES not in state.sizes:
        return bool(missing)
    _take_over(places, state, sum(_rows_size(places, number) for number in earlier))
    return True


def _convert(places: Places, versions: Versions, earlier: list[int], missing: list[int]) -> None:
    table, scratch = places.data / f"{WATCHES}.csv", places.data / FOLDER / SCRATCH
    if not table.exists():
        absent = [part for part in map(places.earlier_part, missing) if not part.exists()]
        versions.pull(*(Path(f"{part}.dvc") for part in absent))
    start = len(EARLIER_WATCH_HEADER) + 1
    for number in earlier:
        stop = start + _rows_size(places, number)
        if number in missing:
            part = places.earlier_part(number)
            if not part.exists():
                _cut(table, start, stop, part)
            if md5_of(part) != _pointer(places, number)[0]:
                part.unlink()
                raise RunError(
                    f"{part}: its MD5 is not the one in git, so the part or {table} is damaged: move that table away and run "
                    "again; the part comes from the DVC remote then"
                )
            watch_parts.roll(part, places.part(WATCHES, number), scratch)
        start = stop


def _take_over(places: Places, state: CollectionState, rolled: int) -> None:
    """Make open watches of the rows beyond the `rolled` bytes of rows that versions have. Saving the state ends it."""
    target = open_watches(places.data, state.version)
    stop = state.sizes.pop(WATCHES)
    start = len(EARLIER_WATCH_HEADER) + 1 + rolled
    aside = target.with_name(f".{target.name}.new")
    with aside.open("wb") as new:
        new.write(f"{WATCH_HEADER}\n".encode())
        if stop > start:
            _copy_open_rows(places.data / f"{WATCHES}.csv", start, stop, new)
        new.flush()
        os.fsync(new.fileno())
    aside.replace(target)
    state.sizes[OPEN_WATCHES] = target.stat().st_size
    path = places.data / pending_version.FILE
    pending = PendingVersion.load(path)
    if pending is not None:
        pending.stops[OPEN_WATCHES] = state.sizes[OPEN_WATCHES]
        pending.save(path, pending.stage)
    state.save(places.data / collector.FILE)


def _copy_open_rows(table: Path, start: int, stop: int, new: BinaryIO) -> None:
    """Copy the rows of a range of bytes as open watches, without the time of the first minute, which is not known."""
    if not table.exists() or table.stat().st_size < stop:
        raise TableError(f"{table}: {stop:,} bytes are recorded, and not all are there: rows are missing; restore the file")
    with table.open("rb") as rows:
        rows.seek(start)
        while rows.tell() < stop and (line := rows.readline()):
            user, film, minutes, last = line.split(b",")
            new.write(b",".join((user, film, minutes, b"", last)))


def _cut(table: Path, start: int, stop: int, part: Path) -> None:
    """Write the part of a version again from the table."""
    aside = part.with_name(f".{part.name}.new")
    with table.open("rb") as whole, aside.open("wb") as new:
        new.write(whole.readline())
        whole.seek(start)
        left = stop - start
        while left > 0 and (block := whole.read(min(left, BLOCK_BYTES))):
            new.write(block)
            left -= len(block)
    aside.replace(part)


def _rows_size(places: Places, number: int) -> int:
    """The bytes of the rows of a part in the earlier form."""
    return _pointer(places, number)[1] - len(EARLIER_WATCH_HEADER) - 1


def _pointer(places: Places, number: int) -> tuple[str, int]:
    """MD5 and size in the `.dvc` file of a part in the earlier form."""
    path = Path(f"{places.earlier_part(number)}.dvc")
    text = path.read_text() if path.exists() else ""
    md5, size = re.search(r"md5: ([0-9a-f]{32})$", text, re.MULTILINE), re.search(r"size: (\d+)$", text, re.MULTILINE)
    if md5 is None or size is None:
        raise RunError(f"{path}: not a .dvc file: git checkout -- {path}")
    return md5[1], int(size[1])
