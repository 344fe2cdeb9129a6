"""The table of ratings, the open rows of watches, and the lines kept aside.

The files are only ever appended to, and cut back to what was recorded. Watches are open until a version has them in its part.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from auto_deployment.ingestion.rows import BlockRows, KeptLine

RATING_HEADER = "user_id,movie_id,rating,rated_at"
WATCH_HEADER = "user_id,movie_id,minutes,first_at,last_at"
EARLIER_WATCH_HEADER = "user_id,movie_id,minutes,watched_at"  # before software 1.1
OPEN_WATCHES = "open_watch"
KEPT_VERSIONS = 30


class TableError(RunError):
    """A table has lost rows that were recorded, or cannot be written."""


class Tables:
    """The tables under one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.ratings = data_dir / "clean_rating.csv"
        self._data_dir = data_dir
        self.roll(0)

    def roll(self, version: int) -> None:
        """Use the files since `version`: open watches, lines kept aside, and visitors.

        Lines aside and visitors of `KEPT_VERSIONS` versions stay.
        """
        self.watches = open_watches(self._data_dir, version)
        ending = f"_since_{version}.jsonl" if version else ".jsonl"
        self.quarantine = self._data_dir / "quarantine" / f"rejected{ending}"
        self.repaired = self._data_dir / "repaired" / f"repaired{ending}"
        self.visitors = self._data_dir / "visitors" / f"recent{ending}"
        for path in self._data_dir.glob("*/re*_since_*.jsonl"):
            if int(path.stem.rpartition("_")[2]) < version - KEPT_VERSIONS:
                path.unlink()

    @property
    def _files(self) -> dict[str, Path]:
        return {
            self.ratings.stem: self.ratings,
            OPEN_WATCHES: self.watches,
            "rejected": self.quarantine,
            "repaired": self.repaired,
            "visitors": self.visitors,
        }

    def append(self, rows: BlockRows) -> None:
        """Add a block's rows and lines, and wait until they are on the disk. Raises TableError where they cannot be."""
        try:
            _append(self.ratings, RATING_HEADER, rows.ratings)
            _append(self.watches, WATCH_HEADER, rows.watches)
            _append(self.quarantine, None, map(_to_json, rows.rejected))
            _append(self.repaired, None, map(_to_json, rows.repaired))
            _append(self.visitors, None, map(str, rows.visitors))
        except OSError as error:
            raise TableError(f"{error.filename or self.ratings.parent}: {error.strerror}: make room, then run again") from error

    def carry_over(self, version: int, start: int) -> None:
        """Begin the open watches since `version` with the rows from byte `start` of these. `roll` uses the new file.

        Raises TableError for a full disk.
        """
        target = open_watches(self._data_dir, version)
        unfinished = target.with_name(f".{target.name}.new")
        try:
            with unfinished.open("wb") as new:
                new.write(f"{WATCH_HEADER}\n".encode())
                if self.watches.exists():
                    with self.watches.open("rb") as rows:
                        rows.seek(max(start, len(rows.readline())))
                        shutil.copyfileobj(rows, new)
                new.flush()
                os.fsync(new.fileno())
            unfinished.replace(target)
        except OSError as error:
            raise TableError(f"{target}: {error.strerror}: make room, then run again") from error

    def drop_rolled(self) -> None:
        """Remove open watches that a version has in its part, and the file that a killed run began."""
        for path in self._data_dir.glob(f"{OPEN_WATCHES}*.csv"):
            if path != self.watches:
                path.unlink()

    def sizes(self) -> dict[str, int]:
        """The bytes of each file, 0 for one that is not there."""
        return {name: path.stat().st_size if path.exists() else 0 for name, path in self._files.items()}

    def roll_back(self, sizes: Mapping[str, int]) -> int:
        """Cut the files back to recorded sizes: what a run that was killed wrote after its last record; the bytes cut off.

        Raises TableError where a table is shorter than recorded: rows have been lost.
        """
        cut = 0
        for name, path in self._files.items():
            there, recorded = path.stat().st_size if path.exists() else 0, sizes.get(name, 0)
            if there < recorded:
                raise TableError(
                    f"{path}: {there:,} bytes, but {recorded:,} are recorded: rows are missing; "
                    f"restore it with python -m auto_deployment.restore"
                )
            if there > recorded:
                os.truncate(path, recorded)
                cut += there - recorded
        return cut


def open_watches(data_dir: Path, version: int) -> Path:
    """The file of the watches since a version."""
    return data_dir / (f"{OPEN_WATCHES}_since_{version}.csv" if version else f"{OPEN_WATCHES}.csv")


def _to_json(aside: KeptLine) -> str:
    return json.dumps(aside._asdict())


def _append(path: Path, header: str | None, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="ascii", newline="") as file:
        if header is not None and file.tell() == 0:
            file.write(header + "\n")
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
