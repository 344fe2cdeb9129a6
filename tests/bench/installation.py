"""An installation of a chosen age at our rates: tables, parts, commits, tags and remotes, and the open rows of the last days.

It is written as a retraining every other day would have left it, without any of the retrainings.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from auto_deployment.common.json_file import write_json_synced
from auto_deployment.ingestion import collector
from auto_deployment.ingestion.collector import CollectionState
from auto_deployment.ingestion.tables import RATING_HEADER, WATCH_HEADER, Tables, open_watches
from auto_deployment.pipeline.history_source import source_of, write_parts
from auto_deployment.pipeline.pending_version import PendingVersion
from auto_deployment.training.pair_table import FOLDER, PairTables, Source
from auto_deployment.versioning.repository import (
    RATINGS,
    TABLES,
    WATCHES,
    Places,
    Versions,
    message,
    parts_of,
    tag_of,
    write_version,
)
from tests.bench.stream import DAY, Audience, block_rows, joined
from tests.integration.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.stream import DamagedLines, RatingRows, Viewings

USERS, FILMS = 1_000_000, 27_000
# The history ends here, in seconds since 1970: 1 November 2026.
END = 1_793_491_200
VERSION_DAYS = 2.0
SCALE = (1.0, 5.0)
BLOCKS_TOGETHER = 20
# Disk of a day of history: its ratings twice, its watches, its pairs and what DuckDB spills of them. The rest does not grow:
# open rows, and the model in three places.
DAY_GB, OTHER_GB = 0.135, 6.0
ISO = "CREATE MACRO iso(instant) AS strftime(make_timestamp(instant * 1000000), '%Y-%m-%dT%H:%M:%S')"
RATING_ROWS = "SELECT user_id, movie_id, stars AS rating, iso(second) AS rated_at FROM drawn JOIN films ON film = code"
WATCHED = """
    CREATE OR REPLACE TABLE watched AS
    SELECT user_id, movie_id, minutes, second, second + 60 * (minutes - 1) AS last FROM drawn JOIN films ON film = code
"""
DAMAGED = "INSERT INTO watched SELECT user_id, movie_id, 1, second, second FROM damaged"
OPEN_ROWS = "SELECT user_id, movie_id, minutes, iso(second) AS first_at, iso(last) AS last_at FROM watched"
PART = """
    SELECT user_id::BIGINT AS user_id, movie_id, sum(minutes)::INTEGER AS minutes,
        make_timestamp(min(second) * 1000000) AS first_at, make_timestamp(max(last) * 1000000) AS last_at, true AS first_known
    FROM watched GROUP BY user_id, movie_id ORDER BY user_id, movie_id
"""


@dataclass(frozen=True)
class Size:
    """How old an installation is, and who uses it. The last `version_days` are in no version yet."""

    days: float
    users: int = USERS
    films: int = FILMS

    @property
    def version_days(self) -> float:
        """Days from one version to the next."""
        return min(VERSION_DAYS, self.days / 4)

    @property
    def needed_gb(self) -> float:
        """Disk that installation and retraining need, in GB."""
        return DAY_GB * self.days + OTHER_GB

    def stretches(self) -> list[tuple[int, int]]:
        """The seconds from which and to which each version, and at last the open rows, go."""
        edges = np.arange(0, self.days, self.version_days)[::-1]
        starts = [END - round(DAY * min(edge + self.version_days, self.days)) for edge in edges]
        return list(zip(starts, [*starts[1:], END], strict=True))


class Installation:
    """An installation in a folder of its own."""

    def __init__(self, folder: Path, size: Size) -> None:
        """One that is in the folder already is used. Raises SystemExit where that is unfinished, or was retrained."""
        is_there = (folder / "checkout").exists()
        self.size = size
        self.checkout = Checkout(folder / "checkout", folder)
        self.places = Places(self.checkout.folder, self.checkout.data(""))
        self.audience = Audience(size.users, size.films)
        self.versions = len(size.stretches()) - 1 if is_there else 0
        self._table = self.places.data / f"{RATINGS}.csv"
        self._scratch = folder / "scratch"
        self._database = duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "1GB"})
        self._database.execute("SET enable_progress_bar = false")
        ids = np.array(self.audience.films, dtype=np.object_)
        self._database.register("named", {"code": np.arange(size.films), "movie_id": ids})
        self._database.execute("CREATE TABLE films AS SELECT code, movie_id::VARCHAR AS movie_id FROM named")
        self._database.execute(ISO)
        state = CollectionState.load(self.places.data / collector.FILE)
        if is_there and (state is None or state.version != self.versions):
            raise SystemExit(f"history: {folder}: it is unfinished, or was retrained: remove it, and it is made again")

    def make(self, say: Callable[[str], None]) -> None:
        """Write everything; `say` gets a line now and then."""
        self._scratch.mkdir()
        self._table.write_text(f"{RATING_HEADER}\n")
        self.places.versioning.mkdir()
        *closed, last = self.size.stretches()
        for number, (begin, end) in enumerate(closed, 1):
            self._version(number, begin, end)
            if number % 20 == 0:
                say(f"made {number} of {len(closed)} versions")
        self.versions = len(closed)
        self.checkout.command("git", "push", "--quiet", "--follow-tags", "origin", "main")
        self._open(*last)
        tables = Tables(self.places.data)
        tables.roll(self.versions)
        state = CollectionState(format=1, marks={}, sizes=tables.sizes(), version=self.versions, scale=list(SCALE))
        state.save(self.places.data / collector.FILE)
        say(f"made {self.versions} versions and the open rows")

    def new_lines(self) -> Path:
        """A file of a few stream lines after the end of the history: what the next retraining collects."""
        viewings = self.audience.viewings(END, END + DAY // 100, self.versions + 1)
        path = self.checkout.folder.with_name("new.log")
        rows = zip(*(column[:20].tolist() for column in viewings), strict=True)
        path.write_text(
            "".join(
                f"{np.datetime64(second, 's')},{user},GET /data/m/{self.audience.films[film]}/{minute}.mpg\n"
                for user, film, minute, second in rows
            )
        )
        return path

    def bytes_of_parts(self, table: str) -> int:
        """The bytes of a table's parts in the DVC remote."""
        parts = (md5 for name, md5 in parts_of(self.places).items() if name.startswith(table))
        return sum(_object(self.checkout.dvc_remote, md5).stat().st_size for md5 in parts)

    def has_pair_table(self) -> bool:
        """Whether the pair table of the last version is there."""
        return PairTables(self.places.data / FOLDER).manifest(self.versions) is not None

    def pair_table_source(self) -> Source:
        """What the pair table of the last version is made from."""
        md5s = parts_of(self.places)
        names = {number: self.places.part(WATCHES, number).name for number in range(1, self.versions + 1)}
        parts = {number: _object(self.checkout.dvc_remote, md5s[name]) for number, name in names.items()}
        size = int(json.loads(self.places.offsets.read_text())["sizes"][RATINGS])
        return Source(self.versions, self._table, size, partial(_after, parts), md5s)

    def _version(self, number: int, begin: int, end: int) -> None:
        """The parts of a version in the DVC remote, its rows in the table of ratings, its commit and its tag.

        The parts of the last version stay in the working copy, too.
        """
        ratings, watches = (self.places.part(table, number) for table in TABLES)
        for table in TABLES:
            self.places.part(table, number - 1).unlink(missing_ok=True)
        self._draw("drawn", self.audience.ratings(begin, end, number))
        self._write_csv(RATING_ROWS, ratings)
        _append(ratings, self._table)
        viewings = self.audience.viewings(begin, end, number)
        self._draw("drawn", viewings, WATCHED)
        self._draw("damaged", self.audience.damaged(viewings, number), DAMAGED)
        self._database.sql(PART).write_parquet(str(watches), compression="zstd")
        for part in (ratings, watches):
            self._keep(part)
        write_version(self.places.data, number)
        sizes = {RATINGS: self._table.stat().st_size}
        write_json_synced(self.places.offsets, {"version": number, "marks": {}, "sizes": sizes})
        files = [str(each) for each in (self.places.version_file, self.places.offsets, f"{ratings}.dvc", f"{watches}.dvc")]
        self.checkout.command("git", "add", "--force", "--", *files)
        self.checkout.command("git", "commit", "--quiet", "-m", message(number))
        self.checkout.command("git", "tag", "--annotate", tag_of(number), "-m", message(number))

    def _open(self, begin: int, end: int) -> None:
        """The rows that are in no version yet: ratings at the table's end, watches in a file of their own, block by block."""
        number = self.versions + 1
        part, rows = self._scratch / "rows.csv", open_watches(self.places.data, self.versions)
        self._draw("drawn", self.audience.ratings(begin, end, number))
        self._write_csv(RATING_ROWS, part)
        _append(part, self._table)
        rows.write_text(f"{WATCH_HEADER}\n")
        viewings = self.audience.viewings(begin, end, number)
        damaged, blocks = [self.audience.damaged(viewings, number)], block_rows(viewings)
        while together := list(islice(blocks, BLOCKS_TOGETHER)):
            self._draw("drawn", joined(together), WATCHED)
            if damaged:  # all with the first blocks: the order of rows means nothing
                self._draw("damaged", damaged.pop(), DAMAGED)
            self._write_csv(OPEN_ROWS, part)
            _append(part, rows)
        part.unlink()

    def _draw(self, name: str, drawn: RatingRows | Viewings | DamagedLines, statement: str | None = None) -> None:
        """Give drawn rows to the database, and run a statement on them."""
        names = {"user": "user_id", "film_id": "movie_id"}
        self._database.register(name, {names.get(column, column): values for column, values in drawn._asdict().items()})
        if statement is not None:
            self._database.execute(statement)

    def _write_csv(self, query: str, path: Path) -> None:
        self._database.sql(query).write_csv(str(path), header=True, quotechar="", escapechar="")

    def _keep(self, part: Path) -> None:
        """Put a part under DVC as `dvc add` and `dvc push` do, with the remote's copy as the only one."""
        md5, size = _md5(part), part.stat().st_size
        pointer = f"outs:\n- md5: {md5}\n  size: {size}\n  hash: md5\n  path: {part.name}\n"
        part.with_name(f"{part.name}.dvc").write_text(pointer)
        target = _object(self.checkout.dvc_remote, md5)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(part)


def bytes_of(folder: Path) -> int:
    """The bytes of the files in a folder, hard links once. Files may come and go meanwhile."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                status = Path(parent, name).lstat()
                found[status.st_ino] = status.st_size
    return sum(found.values())


def make_pair_table(data: Path, source: Source, memory: str) -> None:
    """Make a pair table from all parts, as a run does where it is missing. `memory` is DuckDB's, such as `2GB`."""
    PairTables(data / FOLDER, memory).update(source, SCALE)


def new_parts(places: Places, memory: str) -> float:
    """Write the parts of the rows that no version has, as the stage `parts` of a run does, and remove them.

    Returns the seconds of the stage. `memory` is DuckDB's, such as `2GB`.
    """
    state, offsets = CollectionState.load(places.data / collector.FILE), json.loads(places.offsets.read_text())
    if state is None:
        raise SystemExit(f"history: {places.data}: there is no installation")
    pending = PendingVersion(
        number=state.version + 1,
        base="",
        data_creation="",
        trained_on="",
        starts=offsets["sizes"],
        stops=state.sizes,
        marks={},
        lines=state.counts,
        gaps=[],
        lag=0,
    )
    begun = time.monotonic()
    write_parts(places, pending, state.version, memory)
    source_of(places, Versions(places, "origin", "main", ""), pending, None)
    seconds = time.monotonic() - begun
    for table in TABLES:
        places.part(table, pending.number).unlink()
    return seconds


def _after(parts: dict[int, Path], version: int) -> dict[int, Path]:
    return {number: part for number, part in parts.items() if number > version}


def _object(remote: Path, md5: str) -> Path:
    return remote / "files" / "md5" / md5[:2] / md5[2:]


def _append(part: Path, table: Path) -> None:
    """Add the rows of a CSV file, without its header, to another one."""
    with part.open("rb") as source, table.open("ab") as target:
        source.readline()
        shutil.copyfileobj(source, target, 1 << 20)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
