"""The telemetry's Parquet files: our own answers and the begun films, in one folder for each day.

    answers/2026-01-05/SOURCE~STOP.parquet   time, user_id, server, status, milliseconds, films, digest, error
    watches/2026-01-05/SOURCE~STOP.parquet   user_id, film, begun, minutes

A file has one day of one collected block. Its name contains the position at which the block ends. The same block again
replaces the file. The name also shows which files lie beyond the marks of the collection. Days and times are the stream's own.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from app.model import ArtifactError
from app.provenance import DatabaseError
from auto_deployment.common.database import Database, Error, quoted
from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import read_json, sync_folder, write_json_synced

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from app.events import Recommendation
    from auto_deployment.ingestion.rows import BlockRows

Kind: TypeAlias = Literal["answers", "watches"]

# The columns of a kind's lines. Then the columns of its file, and their order: neighbours that are alike compress well.
COLUMNS: Mapping[Kind, str] = {
    "answers": (
        "{'time': 'TIMESTAMP', 'user_id': 'BIGINT', 'server': 'VARCHAR', 'status': 'USMALLINT', 'milliseconds': 'UINTEGER', "
        "'films': 'VARCHAR', 'digest': 'UBIGINT', 'error': 'VARCHAR'}"
    ),
    "watches": "{'user_id': 'BIGINT', 'film': 'VARCHAR', 'minutes': 'UINTEGER', 'begun': 'TIMESTAMP'}",
}
KEPT: Mapping[Kind, str] = {
    "answers": "time, user_id, server, status, milliseconds, string_split(films, ',') AS films, digest, error",
    "watches": "user_id, film, begun, minutes",
}
ORDER: Mapping[Kind, str] = {"answers": "user_id, time", "watches": "user_id, film"}
TIME: Mapping[Kind, str] = {"answers": "time", "watches": "begun"}
EMPTY: Mapping[Kind, str] = {
    "answers": (
        "SELECT NULL::TIMESTAMP AS time, NULL::BIGINT AS user_id, NULL::VARCHAR AS server, NULL::USMALLINT AS status, "
        "NULL::UINTEGER AS milliseconds, NULL::VARCHAR[] AS films, NULL::UBIGINT AS digest, NULL::VARCHAR AS error WHERE false"
    ),
    "watches": (
        "SELECT NULL::BIGINT AS user_id, NULL::VARCHAR AS film, NULL::TIMESTAMP AS begun, NULL::UINTEGER AS minutes WHERE false"
    ),
}
# Errors that end a step of the telemetry, and nothing else.
FAILURES = (RunError, DatabaseError, Error, OSError, ArtifactError)
# The folder for what does not fit into memory while a query runs.
SCRATCH = ".scratch"
KINDS: tuple[Kind, ...] = ("answers", "watches")
UNREAD = "unread.json"
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
LONGEST_ERROR = 200
MICROSECONDS = len("2026-01-01T00:00:00.123456")  # the resolution of a TIMESTAMP


class ParquetStore:
    """The Parquet files under one folder. Methods raise OSError or `database.Error` when the disk fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, source: str, mark: Mapping[str, Any], rows: BlockRows) -> None:
        """Write the answers and watches of a block: one file for each day. Each file is complete, or it does not exist."""
        name = f"{_slug(source)}~{_position(mark):015d}.parquet"
        watches = [_watch_line(row) for row in rows.watches]
        lines: dict[Kind, Sequence[str]] = {"answers": answer_lines(rows.answers), "watches": watches}
        days: dict[Kind, set[str]] = {
            "answers": {answer.time[:10] for answer in rows.answers},
            "watches": {line.rpartition("\t")[2][:10] for line in watches},
        }
        if not any(days.values()):
            return
        with Database(self.folder / SCRATCH) as database:
            for kind in KINDS:
                if lines[kind]:
                    self._write(database, kind, lines[kind], sorted(days[kind]), name)

    def _write(self, database: Database, kind: Kind, lines: Sequence[str], days: Sequence[str], name: str) -> None:
        database.load("block", COLUMNS[kind], lines)
        for day in days:
            path = self.folder / kind / day / name
            path.parent.mkdir(parents=True, exist_ok=True)
            of_day = f"FROM block WHERE {TIME[kind]}::DATE = '{day}' ORDER BY {ORDER[kind]}"
            database.copy(f"SELECT {KEPT[kind]} {of_day}", path)
            sync_folder(path.parent)
            sync_folder(path.parent.parent)

    def roll_back(self, marks: Mapping[str, Mapping[str, Any]]) -> int:
        """Remove the files of blocks beyond the marks, or all files if there are no marks. Returns their number."""
        recorded = {_slug(source): _position(mark) for source, mark in marks.items()}
        removed = 0
        for path in [path for kind in KINDS for path in sorted(self.folder.glob(f"{kind}/*/*.parquet"))]:
            slug, _, stop = path.stem.rpartition("~")
            if (slug and int(stop) > recorded.get(slug, -1)) or not marks:
                path.unlink()
                removed += 1
        return removed

    def days(self, kind: Kind = "answers") -> list[str]:
        """The days with files, oldest first."""
        return sorted(path.name for path in self.folder.glob(f"{kind}/*") if DAY.fullmatch(path.name) and path.is_dir())

    def note_unread(self, sources: Sequence[str]) -> None:
        """Write which sources the last collection did not read to their end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json_synced(self.folder / UNREAD, {"sources": [_slug(source) for source in sources]})

    def unread(self) -> list[str]:
        """The sources of `note_unread`, as the prefixes of their file names. Raises StateError."""
        return [f"{slug}~" for slug in (read_json(self.folder / UNREAD) or {"sources": []})["sources"]]

    def relation(self, kind: Kind, days: Iterable[str], *, named: bool = False) -> str:
        """The SQL relation of the files of these days. `named` adds the column `filename`."""
        paths = [path for day in days for path in sorted((self.folder / kind / day).glob("*.parquet"))]
        listed = ", ".join(quoted(str(path)) for path in paths)
        if not paths:
            return f"(SELECT *, NULL::VARCHAR AS filename FROM ({EMPTY[kind]}))" if named else f"({EMPTY[kind]})"
        return f"read_parquet([{listed}]{', filename = true' if named else ''})"

    def drop(self, day: str) -> None:
        """Remove a day."""
        for kind in KINDS:
            shutil.rmtree(self.folder / kind / day, ignore_errors=True)

    def bytes_of(self, day: str) -> int:
        """The size of a day on the disk, in bytes."""
        return sum(path.stat().st_size for kind in KINDS for path in (self.folder / kind / day).glob("*.parquet"))


def day_after(day: str, days: int) -> str:
    """The day so many days after another."""
    return str(date.fromisoformat(day) + timedelta(days=days))


def _position(mark: Mapping[str, Any]) -> int:
    """How far a source was read: an offset, or a number of lines."""
    return int(mark.get("offset", mark.get("lines", 0)))


def _slug(source: str) -> str:
    """A source's name in a file name: its last characters, and a checksum that keeps sources apart."""
    word = re.sub(r"[^A-Za-z0-9.-]+", "-", source)[-40:].strip("-")
    return f"{word}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"


def digest_of(films: Iterable[str]) -> int:
    """The digest of an answer's list in provenance, as a number: 64 bits of BLAKE2b of the ids, joined by commas."""
    return int.from_bytes(hashlib.blake2b(",".join(films).encode(), digest_size=8).digest(), "big")


def answer_lines(answers: Iterable[Recommendation]) -> list[str]:
    """A tab-separated line for each recommendation, in the order of the stream."""
    return [_answer_line(answer) for answer in answers]


def _watch_line(row: str) -> str:
    """A tab-separated line for a row of watches: user, film, minutes and the time of the first minute."""
    user, film, minutes, begun, _ = row.split(",")
    return "\t".join((user, film, minutes, begun[:MICROSECONDS]))


def _answer_line(answer: Recommendation) -> str:
    digest = digest_of(answer.films) if answer.films else ""
    head = (answer.time[:MICROSECONDS], answer.user, _without_separators(answer.server), answer.status, answer.milliseconds)
    return "\t".join(map(str, (*head, ",".join(answer.films), digest, _without_separators(answer.error))))


def _without_separators(text: str) -> str:
    """A text of the stream in which blanks replace tabs, line ends and other signs that cannot be printed."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:LONGEST_ERROR])
