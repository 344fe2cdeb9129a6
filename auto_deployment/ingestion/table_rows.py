"""The rows of the tables' CSV files: checked once, when they enter a part or the pair table, and read by DuckDB.

DuckDB checks all rows. Only a file with a wrong row is read again, line by line, for a message with the line's number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from app.events import FILM
from auto_deployment.common.database import NO_ROOM, Error, quoted
from auto_deployment.common.errors import RefusedError, first_line

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.common.database import Database

_BLOCK_BYTES = 1 << 24
_SHOWN = 120
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3,9})?"
_PATTERNS = {
    "user_id": r"\d{1,19}",
    "movie_id": FILM,
    "rating": r"\d+(?:\.\d+)?",
    "minutes": r"\d{1,9}",
    "first_at": rf"(?:{_TIME})?",
    **dict.fromkeys(("rated_at", "watched_at", "last_at"), _TIME),
}
_TIMES = ("rated_at", "first_at", "watched_at", "last_at")
# A TIMESTAMP has six decimals of a second; those after the sixth are cut off.
_MICROSECONDS = len("2026-01-01T00:00:00.123456")


@dataclass(frozen=True)
class CheckedRows:
    """The SQL relation `sql` of a file's `count` rows, typed: `wrong` is true in a row that breaks a rule.

    Columns: user_id BIGINT, movie_id VARCHAR, times TIMESTAMP, rating FLOAT, minutes INTEGER, as the header has them.
    """

    sql: str
    count: int


def checked_rows(path: Path, header: str, scale: tuple[float, float] | None = None) -> CheckedRows:
    """The rows of a CSV file with this header; ratings must be in `scale`.

    Raises RefusedError where bytes of the file cannot be those of a table. Rows are checked when the relation is read: a row
    with `wrong` calls for `refuse`.
    """
    try:
        lines = _count_lines(path, header)
    except FileNotFoundError as error:
        raise RefusedError(f"{path}: there is no such table: collect lines of the stream first") from error
    except OSError as error:
        raise RefusedError(f"{path}: {error.strerror or error}: restore the table") from error
    if lines is None:
        raise refusal(path, header, scale)
    names = header.split(",")
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in names)
    rows = (
        f"read_csv({quoted(str(path))}, header=false, skip=1, auto_detect=false, delim=',', quote='', escape='', "
        f"new_line='\\n', columns={{{columns}}})"
    )
    typed = ", ".join(f"{_typed(name)} AS {name}" for name in names)
    fits = " AND ".join(_check(name, scale) for name in names)
    return CheckedRows(f"(SELECT {typed}, NOT coalesce({fits}, false) AS wrong FROM {rows})", lines)


def load(
    database: Database,
    table: str,
    path: Path,
    header: str,
    scale: tuple[float, float] | None = None,
    span: tuple[int, int] | None = None,
) -> int:
    """Make a table of the rows of a CSV file, or of its bytes in `span`, with their `number` from 0. Returns their count.

    Raises RefusedError naming the first wrong line of the file.
    """
    try:
        source = path if span is None else span_of(database, path, header, *span)
        rows = checked_rows(source, header, scale)
        database.run(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT *, row_number() OVER () - 1 AS number FROM {rows.sql}")
        [(count, wrong)] = database.rows(f"SELECT count(*), count(*) FILTER (WHERE wrong) FROM {table}")
        if source != path:
            source.unlink()
    except NO_ROOM:
        raise
    except Error as error:
        raise refusal(path, header, scale, error) from error
    if wrong or count != rows.count:
        raise refusal(path, header, scale)
    return int(count)


def span_of(database: Database, path: Path, header: str, start: int, stop: int) -> Path:
    """A file with the header and the bytes of `path` from `start` to `stop`; `path` itself where these are all of it."""
    if not path.is_file() or (start <= len(header) + 1 and stop == path.stat().st_size):
        return path
    with path.open("rb") as whole:
        head = whole.readline()
        whole.seek(max(start, len(head)))
        return database.scratch_copy(path.name, head, whole, stop - max(start, len(head)))


def refusal(path: Path, header: str, scale: tuple[float, float] | None = None, error: Exception | None = None) -> RefusedError:
    """The error that names the first wrong line of a file; without one it has the text of DuckDB's `error`."""
    fault = _first_fault(path, header, scale)
    return RefusedError(fault or f"{path}: it cannot be read ({first_line(error) if error else 'its rows do not add up'})")


def _typed(name: str) -> str:
    if name in _TIMES:
        return f"TRY_CAST(substr({name}, 1, {_MICROSECONDS}) AS TIMESTAMP)"
    types = {"user_id": "BIGINT", "rating": "DOUBLE", "minutes": "INTEGER"}
    return f"TRY_CAST({name} AS {types[name]})" if name in types else name


def _check(name: str, scale: tuple[float, float] | None) -> str:
    """A condition on a field's text and value; NULL counts as false."""
    if name == "first_at":
        return f"({name} IS NULL OR {_typed(name)} IS NOT NULL AND regexp_full_match({name}, {quoted(_PATTERNS[name])}))"
    fits = f"regexp_full_match({name}, {quoted(_PATTERNS[name])}) AND {_typed(name)} IS NOT NULL"
    if name == "rating" and scale is not None:
        return f"{fits} AND {_typed(name)} BETWEEN {scale[0]} AND {scale[1]}"
    return f"{fits} AND {_typed(name)} >= 1" if name == "minutes" else fits


def _count_lines(path: Path, header: str) -> int | None:
    """The rows of a file whose bytes can be a table's, otherwise None: its header, ASCII without CR or NUL, enough commas.

    DuckDB does not see a comma after the last field.
    """
    with path.open("rb") as file:
        if file.readline().removesuffix(b"\n") != header.encode():
            return None
        count, commas, last = 0, 0, b"\n"
        while block := file.read(_BLOCK_BYTES):
            if not block.isascii() or b"\r" in block or b"\0" in block:
                return None
            count, commas, last = count + block.count(b"\n"), commas + block.count(b","), block[-1:]
        count += last != b"\n"
        return count if commas == count * header.count(",") else None


def _first_fault(path: Path, header: str, scale: tuple[float, float] | None) -> str | None:
    """The first line that is wrong, with what is wrong about it."""
    names = header.split(",")
    fits = re.compile(",".join(_PATTERNS[name] for name in names), re.ASCII).fullmatch
    with path.open(encoding="ascii", errors="replace", newline="\n") as file:
        text = file.readline().removesuffix("\n")
        if text != header:
            return _fault(path, 1, f"the header is not {header}: {text[:_SHOWN]!r}")
        for number, line in enumerate(file, 2):
            text = line.removesuffix("\n")
            if fits(text) is None:
                return _fault(path, number, f"not a row of {header}: {text[:_SHOWN]!r}")
            row = dict(zip(names, text.split(","), strict=True))
            if (wrong := next((what for name, field in row.items() if (what := _wrong(name, field, scale))), None)) is not None:
                return _fault(path, number, wrong)
    return None


def _wrong(name: str, field: str, scale: tuple[float, float] | None) -> str | None:
    """What is wrong about a field that has the right form."""
    if name == "user_id" and int(field) >= 2**63:
        return f"user_id {field} is not below 2^63"
    if name == "rating" and scale is not None and not scale[0] <= float(field) <= scale[1]:
        return f"rating {float(field)} is not between {scale[0]:g} and {scale[1]:g}"
    if name == "minutes" and int(field) < 1:
        return f"minutes {field} is not 1 or more"
    if name in _TIMES and field and not _is_a_time(field):
        return f"{name} {field} is not a time of the calendar"
    return None


def _is_a_time(field: str) -> bool:
    try:
        datetime.fromisoformat(field[:_MICROSECONDS])
    except ValueError:
        return False
    return True


def _fault(path: Path, number: int, what: str) -> str:
    return f"{path} line {number}: {what}; nothing was read: mend or remove that line, or restore the file"
