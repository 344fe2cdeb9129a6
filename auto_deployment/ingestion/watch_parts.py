"""A version's part of the watches: one row a pair of user and film, sorted, as Parquet.

The result depends on what was watched up to the version's end, and not on blocks, polls or kills.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.common.database import NO_ROOM, Database, Error, quoted
from auto_deployment.common.errors import RefusedError, RunError, first_line
from auto_deployment.ingestion.table_rows import checked_rows, refusal, span_of
from auto_deployment.ingestion.tables import EARLIER_WATCH_HEADER, WATCH_HEADER, TableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from auto_deployment.ingestion.table_rows import CheckedRows

# `first_known` is false where rows of software before 1.1 had no time of the first minute: then it is the earliest row's time.
COLUMNS = {
    "user_id": "BIGINT",
    "movie_id": "VARCHAR",
    "minutes": "INTEGER",
    "first_at": "TIMESTAMP",
    "last_at": "TIMESTAMP",
    "first_known": "BOOLEAN",
}


def roll(rows: Path, part: Path, scratch: Path, memory: str | None = None, stop: int | None = None) -> None:
    """Combine the rows in the first `stop` bytes of a CSV file by pair, and write them to `part`.

    The header may be today's, or that of software before 1.1. Raises RefusedError naming the first wrong row, TableError where
    rows are missing, RunError for a full disk.
    """
    if stop is not None and (not rows.exists() or rows.stat().st_size < stop):
        raise TableError(f"{rows}: {stop:,} bytes are recorded, and not all are there: rows are missing; restore the file")
    header = _header_of(rows)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Database(scratch, memory) as database:
            source = rows if stop is None else span_of(database, rows, header, 0, stop)
            _combine(database, checked_rows(source, header), rows, header)
            database.copy(f"SELECT {', '.join(COLUMNS)} FROM pairs ORDER BY user_id, movie_id", part)
    except NO_ROOM as error:
        raise RunError(f"{part}: it cannot be written ({first_line(error)}): make room there, then run again") from error


def _combine(database: Database, checked: CheckedRows, rows: Path, header: str) -> None:
    """Make the table `pairs` of the rows. Raises RefusedError naming the first wrong row."""
    first, last = ("first_at", "last_at") if header == WATCH_HEADER else ("NULL::TIMESTAMP", "watched_at")
    try:
        database.run(
            "CREATE TEMP TABLE pairs AS SELECT user_id, movie_id, sum(minutes)::INTEGER AS minutes, "
            f"min(coalesce({first}, {last})) AS first_at, max({last}) AS last_at, "
            f"bool_and({first} IS NOT NULL) AS first_known, count(*) AS rows, bool_or(wrong) AS wrong "
            f"FROM {checked.sql} GROUP BY user_id, movie_id"
        )
        [(wrong, count)] = database.rows("SELECT coalesce(bool_or(wrong), false), coalesce(sum(rows), 0) FROM pairs")
    except NO_ROOM:
        raise
    except Error as error:
        raise refusal(rows, header, error=error) from error
    if wrong or count != checked.count:
        raise refusal(rows, header)


def relation(parts: Sequence[Path], *, named: bool = False) -> str:
    """The SQL relation of the rows of parts; a pair has a row in each part in which it was watched. No part: no row.

    A `named` relation has the path of each row's part as a further column, `filename`.
    """
    if not parts:
        columns = {**COLUMNS, **({"filename": "VARCHAR"} if named else {})}
        return f"(SELECT {', '.join(f'NULL::{kind} AS {name}' for name, kind in columns.items())} WHERE false)"
    return f"read_parquet([{', '.join(quoted(str(part)) for part in parts)}], filename={str(named).lower()})"


def check(part: Path, database: Database) -> int:
    """The number of rows of a part. Raises RefusedError where it is missing, cut, of another schema, or has a wrong row."""
    if not part.is_file():
        raise RefusedError(f"{part}: the part is missing: restore it with python -m auto_deployment.restore")
    try:
        found = {name: kind for name, kind, *_ in database.rows(f"DESCRIBE SELECT * FROM {relation([part])}")}
        if list(found.items()) != list(COLUMNS.items()):
            different = ", ".join(f"{name} {kind}" for name, kind in found.items() if COLUMNS.get(name) != kind)
            lacking = ", ".join(name for name in COLUMNS if name not in found)
            what = "; ".join(filter(None, (different and f"it has {different}", lacking and f"it lacks {lacking}")))
            raise RefusedError(
                f"{part}: not a part of watches ({what or 'its columns are in another order'}): restore the part"
            )
    except Error as error:
        raise RefusedError(f"{part}: it cannot be read ({first_line(error)}): restore the part") from error
    empty = " OR ".join(f"{name} IS NULL" for name in COLUMNS)
    [(rows, nulls, wrong, pairs)] = database.rows(
        f"SELECT count(*), count(*) FILTER (WHERE {empty}), "
        "count(*) FILTER (WHERE user_id < 0 OR minutes < 1 OR first_at > last_at), "
        f"count(DISTINCT (user_id, movie_id)) FROM {relation([part])}"
    )
    if nulls or wrong or pairs != rows:
        what = f"{nulls:,} rows with empty fields, {wrong:,} impossible ones, {rows - pairs:,} pairs that occur again"
        raise RefusedError(f"{part}: not a part of watches ({what}): restore the part")
    return int(rows)


def _header_of(rows: Path) -> str:
    """The header of the file if it is the earlier one, else today's, whose check names what is wrong."""
    try:
        with rows.open("rb") as file:
            return EARLIER_WATCH_HEADER if file.readline().rstrip(b"\n") == EARLIER_WATCH_HEADER.encode() else WATCH_HEADER
    except OSError:
        return WATCH_HEADER
