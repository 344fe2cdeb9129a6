"""The pair table: every pair of user and film that was rated or watched, merged with each version's new rows.

It is a cache. It can be made again from the table of ratings and the parts of watches, row by row the same. A folder has the
table of one version:

    pairs/7/manifest.json       what it was made from, and the MD5 of each file; written last
    pairs/7/films.parquet       code, movie_id, lines, look_alike
    pairs/7/ratings_0.parquet   user_id, film, stars, rated_at, number: the latest rating of each pair, by user and film
    pairs/7/watches_0.parquet   user_id, film, minutes, first_at, last_at, first_known, version

`film` is a code of films.parquet, `number` the row of the table of ratings from 0, `version` the first one with the pair. A
slice has all pairs of a range of users, so that a merge, and a reader, needs the memory of a slice.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from app.model import md5_of
from auto_deployment.common.database import NO_ROOM, Database, quoted, sync_file
from auto_deployment.common.errors import RunError, first_line
from auto_deployment.common.json_file import StateError, read_typed, write_json_synced
from auto_deployment.ingestion import watch_parts
from auto_deployment.ingestion.table_rows import load
from auto_deployment.ingestion.tables import RATING_HEADER
from auto_deployment.versioning.pointers import version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from auto_deployment.ingestion.tables import Tables

FOLDER = "pairs"  # of a data folder
MANIFEST = "manifest.json"
SCRATCH = ".scratch"
# Pairs of a slice, and the share of the memory that DuckDB gets for a merge; the rest is the process's own.
SLICE_PAIRS = 4_000_000
# Support separates a look-alike from a film: a line or two against twenty times as many. The same damage happens again in a
# long history, but each one to at most 6 of 100,000 lines of its film (365 simulated days): more lines need more support.
LOOK_ALIKE_MOST = 2
LOOK_ALIKE_RATIO = 20
OFTEN_ALIKE_RATIO = 10_000
RATINGS = "user_id, film, stars, rated_at, number"
WATCHES = "user_id, film, minutes, first_at, last_at, first_known, version"


class PairTableError(RunError):
    """The pair table cannot be made: the disk for it, or for what does not fit into memory, is full or fails."""


class SliceFile(BaseModel, frozen=True):
    """One file of a slice: its rows and its MD5."""

    rows: int
    md5: str


class Slice(BaseModel, frozen=True):
    """The pairs of the users from `start` to before the start of the next slice."""

    start: int
    ratings: SliceFile
    watches: SliceFile


class Manifest(BaseModel):
    """What a pair table was made from: the first `rating_bytes` of the table of ratings, and the parts by name, with their MD5.

    `rating_rows` and `watch_rows` count the rows of the table and of all parts. `films` is the MD5 of films.parquet.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")  # tables made before have `rating_md5`, too

    format: Literal[1]
    version: int
    rating_bytes: int
    rating_rows: int
    watch_rows: int
    parts: dict[str, str]
    films: str
    slices: tuple[Slice, ...]

    @property
    def pairs(self) -> int:
        """The rows of both tables."""
        return sum(each.ratings.rows + each.watches.rows for each in self.slices)


@dataclass(frozen=True)
class Source:
    """What the table of a version is made from: the ratings up to a byte, and the parts of watches.

    `watches` returns the parts of the versions after a given one, by version; it may fetch them. `parts` has the MD5 of all
    parts of both tables by name, as `Manifest.parts`. `recorded` is how many bytes of ratings the last version had, with their
    MD5, where its report has it.
    """

    version: int
    ratings: Path
    rating_bytes: int
    watches: Callable[[int], Mapping[int, Path]]
    parts: Mapping[str, str]
    recorded: tuple[int, str] | None = None


class PairTables:
    """The pair tables under one folder: that of the last version, and while a version is made also its own."""

    def __init__(self, folder: Path, memory: str | None = None) -> None:
        """`memory` is DuckDB's limit, such as `2GB`."""
        self.folder = folder
        self._memory = memory

    def manifest(self, version: int) -> Manifest | None:
        """The manifest of a version's table; None where the table is missing or not complete."""
        try:
            return read_typed(self.folder / str(version) / MANIFEST, Manifest)
        except StateError:
            return None

    def base(self, source: Source) -> Manifest | None:
        """The newest complete table that `source` continues: it was made from the same parts, as far as it goes."""
        versions = sorted((int(each.name) for each in self.folder.glob("*/") if each.name.isdigit()), reverse=True)
        found = filter(None, map(self.manifest, versions))
        return next((each for each in found if _is_part_of(each, source)), None)

    def update(self, source: Source, scale: tuple[float, float]) -> Manifest:
        """Make the table of a version: merge the base with what is new. Returns its manifest.

        A base with a damaged file is made again from all parts. Raises RefusedError naming the first wrong row, or
        PairTableError.
        """
        base = self.base(source)
        if base is not None and base.version == source.version and self._is_whole(base):
            return base
        target = self.folder / str(source.version)
        new = target.with_name(f".{target.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        usable = base if base is not None and base.version != source.version and self._is_whole(base) else None
        try:
            with Database(self.folder / SCRATCH, self._memory) as database:
                made = _Merge(database, None if usable is None else self.folder / str(usable.version), usable, source, new)
                manifest = made.run(scale)
            for path, _ in _files(new, manifest):
                sync_file(path)
        except NO_ROOM as error:
            shutil.rmtree(new, ignore_errors=True)
            raise PairTableError(
                f"{self.folder}: the pair table of version {source.version} cannot be made ({first_line(error)}): "
                "make room on its disk, then run again"
            ) from error
        write_json_synced(new / MANIFEST, manifest.model_dump())
        shutil.rmtree(target, ignore_errors=True)
        new.replace(target)
        return manifest

    def relation(self, version: int) -> str:
        """SQL: user_id and movie_id of every pair of a version that was rated or watched; a pair in both tables occurs twice.

        Raises StateError where the table of the version is missing.
        """
        manifest = self.manifest(version)
        if manifest is None:
            raise StateError(f"{self.folder / str(version)}: the pair table is missing: the next run makes it again")
        return pairs_relation(self.folder / str(version), manifest)

    def recover(self) -> None:
        """Remove what a killed run left unfinished. No other run may work."""
        for each in (self.folder / SCRATCH, *self.folder.glob(".*.new")):
            shutil.rmtree(each, ignore_errors=True)

    def drop_but(self, version: int) -> None:
        """Remove every table but that of a version, which has been committed."""
        for each in [*self.folder.glob("*/"), *self.folder.glob(".*.new")]:
            if each.name != str(version):
                shutil.rmtree(each, ignore_errors=True)

    def drop(self, version: int) -> None:
        """Remove the table of a version that was refused."""
        shutil.rmtree(self.folder / str(version), ignore_errors=True)

    def _is_whole(self, manifest: Manifest) -> bool:
        folder = self.folder / str(manifest.version)
        return all(path.is_file() and md5_of(path) == md5 for path, md5 in _files(folder, manifest))


def source_of_tables(tables: Tables, part: Path, scratch: Path) -> Source:
    """The source of version 0: all rows of the tables. This rolls the open watches into `part`."""
    watch_parts.roll(tables.watches, part, scratch)
    ratings = tables.ratings
    md5s = {f"{ratings.stem}_0.csv": md5_of(ratings) if ratings.is_file() else "", f"clean_watch_0{part.suffix}": md5_of(part)}
    size = ratings.stat().st_size if ratings.is_file() else 0
    return Source(0, ratings, size, lambda _: {0: part}, md5s)


def _is_part_of(manifest: Manifest, source: Source) -> bool:
    """Whether the parts up to the table's version are the parts of the table."""
    if manifest.version > source.version or manifest.rating_bytes > source.rating_bytes:
        return False
    up_to = {name: md5 for name, md5 in source.parts.items() if version_of(name) <= manifest.version}
    return manifest.parts == up_to


def _files(folder: Path, manifest: Manifest) -> Iterator[tuple[Path, str]]:
    yield folder / "films.parquet", manifest.films
    for at, each in enumerate(manifest.slices):
        yield folder / f"ratings_{at}.parquet", each.ratings.md5
        yield folder / f"watches_{at}.parquet", each.watches.md5


def parquet(*paths: Path) -> str:
    """The rows of Parquet files with the same columns as one SQL relation."""
    return f"read_parquet([{', '.join(quoted(str(path)) for path in paths)}])"


def pairs_relation(folder: Path, manifest: Manifest) -> str:
    """SQL: user_id and movie_id of every pair that was rated, watched or both; a pair in both tables occurs twice."""
    rows = [
        f"SELECT user_id, film FROM {parquet(*(folder / f'{table}_{at}.parquet' for at in range(len(manifest.slices))))}"
        for table in ("ratings", "watches")
    ]
    return (
        f"(SELECT user_id, movie_id FROM ({' UNION ALL '.join(rows)}) JOIN {parquet(folder / 'films.parquet')} ON code = film)"
    )


class _Merge:
    """One merge of a base table, which may be missing, with the new rows of a source, into the folder `new`."""

    def __init__(self, database: Database, base: Path | None, manifest: Manifest | None, source: Source, new: Path) -> None:
        self._database = database
        self._base = base
        self._manifest = manifest
        self._source = source
        self._new = new

    def run(self, scale: tuple[float, float]) -> Manifest:
        """Merge all slices. Returns the manifest."""
        done = self._manifest
        start, rows_before, watches_before = (
            (0, 0, 0) if done is None else (done.rating_bytes, done.rating_rows, done.watch_rows)
        )
        rating_rows = self._load_ratings(scale, start, rows_before)
        watch_rows = self._load_watches(-1 if done is None else done.version)
        self._number_films()
        self._flag_look_alikes()
        self._database.write("SELECT * FROM films ORDER BY code", self._new / "films.parquet", "v2")
        self._code_rows()
        slices = [self._merge(number, at, begin, end) for number, (at, begin, end) in enumerate(self._ranges())]
        return Manifest(
            format=1,
            version=self._source.version,
            rating_bytes=self._source.rating_bytes,
            rating_rows=rows_before + rating_rows,
            watch_rows=watches_before + watch_rows,
            parts=dict(self._source.parts),
            films=md5_of(self._new / "films.parquet"),
            slices=tuple(slices),
        )

    def _load_ratings(self, scale: tuple[float, float], start: int, rows_before: int) -> int:
        span = (start, self._source.rating_bytes)
        rows = load(self._database, "loaded", self._source.ratings, RATING_HEADER, scale, span)
        self._database.run(f"UPDATE loaded SET number = number + {rows_before}") if rows_before else None
        return rows

    def _load_watches(self, after: int) -> int:
        new = {version: part for version, part in self._source.watches(after).items() if version > after}
        for part in new.values():
            watch_parts.check(part, self._database)
        self._database.run("CREATE TEMP TABLE versions (part VARCHAR, version INTEGER)")
        if new:
            rows = ", ".join(f"({quoted(str(part))}, {version})" for version, part in new.items())
            self._database.run(f"INSERT INTO versions VALUES {rows}")
        # One relation: a union of many parts would sort each of them apart, all at once in memory.
        self._database.run(
            "CREATE OR REPLACE TEMP VIEW watched AS SELECT version, parts.* EXCLUDE (filename) "
            f"FROM {watch_parts.relation(list(new.values()), named=True)} parts JOIN versions ON part = filename"
        )
        [(count,)] = self._database.rows("SELECT count(*) FROM watched")
        return int(count)

    def _number_films(self) -> None:
        """The table `films` of the base with the lines of the new rows added, and new codes for new films."""
        self._database.run("CREATE TEMP TABLE known (code INTEGER, movie_id VARCHAR, lines BIGINT, look_alike BOOLEAN)")
        if self._base is not None:
            self._database.run(f"INSERT INTO known SELECT * FROM {parquet(self._base / 'films.parquet')}")
        self._database.run(
            "CREATE TEMP TABLE counted AS SELECT movie_id, sum(lines)::BIGINT AS lines FROM ("
            "SELECT movie_id, count(*) AS lines FROM loaded GROUP BY movie_id UNION ALL "
            "SELECT movie_id, sum(minutes) AS lines FROM watched GROUP BY movie_id) GROUP BY movie_id"
        )
        self._database.run(
            "CREATE TEMP TABLE films AS "
            "SELECT known.code, known.movie_id, known.lines + coalesce(counted.lines, 0) AS lines, known.look_alike, "
            "counted.lines IS NOT NULL AS changed FROM known LEFT JOIN counted USING (movie_id) UNION ALL "
            "SELECT ((SELECT coalesce(max(code), -1) FROM known) + row_number() OVER (ORDER BY movie_id))::INTEGER, movie_id, "
            "lines, false, true FROM counted ANTI JOIN known USING (movie_id)"
        )

    def _flag_look_alikes(self) -> None:
        """Flag the ids that only damage explains: one letter or digit more than an id that has far more lines.

        A look-alike without new lines stays a look-alike, because the lines of other ids only grow.
        """
        needed = f"lines * (CASE WHEN lines <= {LOOK_ALIKE_MOST} THEN {LOOK_ALIKE_RATIO} ELSE {OFTEN_ALIKE_RATIO} END)"
        # In SQL, because a year has millions of suspects, each with as many shorter ids as it has characters.
        self._database.run(
            "CREATE TEMP TABLE damaged AS SELECT DISTINCT suspects.movie_id FROM ("
            f"SELECT movie_id, {needed} AS least, unnest(range(1, length(movie_id) + 1)) AS place FROM films "
            f"WHERE (changed OR NOT look_alike) AND {needed} <= (SELECT max(lines) FROM films)"
            ") suspects JOIN films ON films.movie_id = substr(suspects.movie_id, 1, place - 1) || "
            "substr(suspects.movie_id, place + 1) "
            "WHERE films.lines >= suspects.least AND regexp_matches(substr(suspects.movie_id, place, 1), '[a-z0-9]')"
        )
        self._database.run(
            "CREATE OR REPLACE TEMP TABLE films AS SELECT code, films.movie_id, lines, "
            "damaged.movie_id IS NOT NULL OR look_alike AND NOT changed AS look_alike "
            "FROM films LEFT JOIN damaged USING (movie_id)"
        )

    def _code_rows(self) -> None:
        """The new rows with codes in place of ids, in the order of users, so that a slice finds its own quickly."""
        self._database.run(
            "CREATE TEMP TABLE rated AS SELECT user_id, code AS film, rating::FLOAT AS stars, rated_at, number "
            "FROM loaded JOIN films USING (movie_id) ORDER BY user_id"
        )
        self._database.run("DROP TABLE loaded")
        self._database.run(
            "CREATE TEMP TABLE viewed AS SELECT user_id, code AS film, minutes, first_at, last_at, first_known, version "
            "FROM watched JOIN films USING (movie_id) ORDER BY user_id"
        )

    def _ranges(self) -> Iterator[tuple[int, int, int | None]]:
        """The base's slice, start and stop of each new slice; a slice that is too large is divided."""
        slices = () if self._manifest is None else self._manifest.slices
        if not slices:
            [(rows,)] = self._database.rows("SELECT (SELECT count(*) FROM rated) + (SELECT count(*) FROM viewed)")
            starts = self._quantiles("SELECT user_id FROM rated UNION ALL SELECT user_id FROM viewed", -(-rows // SLICE_PAIRS))
            for start, stop in zip(starts, (*starts[1:], None), strict=True):
                yield -1, start, stop
            return
        for at, each in enumerate(slices):
            stop = slices[at + 1].start if at + 1 < len(slices) else None
            within = _within(each.start, stop)
            new = f"SELECT user_id FROM rated WHERE {within} UNION ALL SELECT user_id FROM viewed WHERE {within}"
            [(rows,)] = self._database.rows(f"SELECT count(*) FROM ({new})")
            pairs, starts = each.ratings.rows + each.watches.rows + rows, [each.start]
            if pairs > 2 * SLICE_PAIRS:
                tables = " UNION ALL ".join(f"SELECT user_id FROM {self._old(table, at)}" for table in ("ratings", "watches"))
                found = self._quantiles(f"{tables} UNION ALL {new}", -(-pairs // SLICE_PAIRS))
                starts += [user for user in found if user > each.start and (stop is None or user < stop)]
            for begin, end in zip(starts, (*starts[1:], stop), strict=True):
                yield at, begin, end

    def _quantiles(self, users: str, pieces: int) -> list[int]:
        """The first users of about equal pieces, ascending, beginning with 0."""
        if pieces < 2:
            return [0]
        places = ", ".join(f"{at / pieces}" for at in range(1, pieces))
        [(found,)] = self._database.rows(f"SELECT approx_quantile(user_id, [{places}]) FROM ({users})")
        return [0, *sorted({int(each) for each in found if each > 0})]

    def _old(self, table: str, at: int) -> str:
        if self._base is None or at < 0:
            columns, name = (RATINGS, "rated") if table == "ratings" else (WATCHES, "viewed")
            return f"(SELECT {columns} FROM {name} WHERE false)"
        return parquet(self._base / f"{table}_{at}.parquet")

    def _merge(self, number: int, at: int, start: int, stop: int | None) -> Slice:
        """Write one slice: the base's pairs that nothing new touches, and the others combined."""
        within = _within(start, stop)
        latest = "QUALIFY row_number() OVER (PARTITION BY user_id, film ORDER BY rated_at DESC, number DESC) = 1"
        combined = (
            "sum(minutes)::INTEGER AS minutes, min(first_at) AS first_at, max(last_at) AS last_at, "
            "bool_and(first_known) AS first_known, min(version) AS version"
        )

        def merged(table: str, new: str, columns: str, touched: str) -> SliceFile:
            return self._copy(f"{table}_{number}.parquet", new, self._old(table, at), within, columns, touched)

        return Slice(
            start=start,
            ratings=merged("ratings", "rated", RATINGS, f"SELECT {RATINGS} FROM touched {latest}"),
            watches=merged(
                "watches", "viewed", WATCHES, f"SELECT user_id, film, {combined} FROM touched GROUP BY user_id, film"
            ),
        )

    def _copy(self, name: str, new: str, old: str, within: str, columns: str, combined: str) -> SliceFile:
        path = self._new / name
        self._database.write(
            f"WITH fresh AS MATERIALIZED (SELECT {columns} FROM {new} WHERE {within}), "
            f"old AS (SELECT {columns} FROM {old} WHERE {within}), "
            f"touched AS (SELECT {columns} FROM fresh "
            f"UNION ALL SELECT {columns} FROM old SEMI JOIN fresh USING (user_id, film)) "
            f"SELECT * FROM (SELECT {columns} FROM old ANTI JOIN fresh USING (user_id, film) UNION ALL {combined}) "
            "ORDER BY user_id, film",
            path,
            "v2",
        )
        [(rows,)] = self._database.rows(f"SELECT count(*) FROM {parquet(path)}")
        return SliceFile(rows=rows, md5=md5_of(path))


def _within(start: int, stop: int | None) -> str:
    """SQL: whether a user is from `start` to before `stop`."""
    return f"user_id >= {start}" + ("" if stop is None else f" AND user_id < {stop}")


def checksum(database: Database, folder: Path, manifest: Manifest) -> tuple[str, str]:
    """A checksum over the rows of ratings and of watches, whatever the slices and codes: the same rows give the same."""
    sums = []
    for table, columns in (("ratings", RATINGS), ("watches", WATCHES)):
        names = columns.replace(" film,", " movie_id,")
        files = parquet(*(folder / f"{table}_{at}.parquet" for at in range(len(manifest.slices))))
        [(found,)] = database.rows(
            f"SELECT sum(hash({names}))::VARCHAR FROM {files} JOIN {parquet(folder / 'films.parquet')} ON code = film"
        )
        sums.append(str(found))
    return sums[0], sums[1]
