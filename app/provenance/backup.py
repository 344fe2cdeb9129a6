"""A backup as lines of text: its format, `tracking` rows as JSON, answers and lists as journal lines, and a seal at the end."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from app.journal import Row, ServedList, from_line, list_from_line, list_line, to_line
from app.provenance.ledger import insert_new, insert_new_lists, known_rows
from app.provenance.tables import TrackingRow, reccom, row_of, with_times

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from app.provenance.archive import Archive

NAME = "movierec provenance"
# Format 1 has no served lists.
FORMAT, FORMATS = 2, (1, 2)
BATCH_ROWS = 2000

Entry: TypeAlias = TrackingRow | Row | ServedList


class BackupError(Exception):
    """The file is not a complete backup; the text says what is wrong."""


class OtherHistoryError(Exception):
    """The backup comes from another installation: a version's number stands for another model here."""


class Restored(NamedTuple):
    """Answers that a restore added, that were there already, and that are there with other content and stay unchanged."""

    added: int
    known: int
    different: int


class _Seal:
    """Counts and digests the lines of a backup, for the writer and the reader."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._versions = self._answers = self._lists = 0

    def add(self, line: bytes, entry: Entry | None) -> bytes:
        """Count and digest a line. Returns the line."""
        self._digest.update(line)
        self._versions += isinstance(entry, dict)
        self._answers += isinstance(entry, Row)
        self._lists += isinstance(entry, ServedList)
        return line

    def line(self) -> bytes:
        """The last line of the backup."""
        lists = {"lists": self._lists} if self._lists else {}  # as in format 1
        seal = {"versions": self._versions, "answers": self._answers, **lists, "sha256": self._digest.hexdigest()}
        return _json({"seal": seal})


def to_lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The lines of a backup of versions, answers and served lists."""
    seal = _Seal()
    yield seal.add(_json({"format": NAME, "number": FORMAT}), None)
    for entry in entries:
        yield seal.add(_line(entry), entry)
    yield seal.line()


def from_lines(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a backup's lines. Raises BackupError for a wrong line, and at the end if lines are missing."""
    seal, number = _Seal(), 0
    for number, line in enumerate(lines, 1):
        if number == 1:
            _check_format(line)
            seal.add(line, None)
        elif line.startswith(b'{"seal"'):
            if line != seal.line():
                raise BackupError(f"line {number}: lines were changed or left out before it")
            return
        else:
            entry = _read(line, number)
            seal.add(line, entry)
            yield entry
    raise BackupError(f"line {number}: the backup was cut off here: its last line, the seal, is missing")


def count_answers(lines: Iterable[bytes]) -> int:
    """The number of answers in a backup's lines. Raises BackupError as `from_lines` does."""
    return sum(isinstance(each, Row) for each in from_lines(lines))


def restore(archive: Archive, entries: Iterable[Entry]) -> Restored:
    """Add what is not there yet. Rows that are there stay unchanged.

    Raises OtherHistoryError, before any answer is added, if a version's number stands for another model here.
    """
    done, there = Restored(0, 0, 0), {row["version_number"]: row for row in archive.versions()}
    batch, lists = list[Row](), list[ServedList]()
    for entry in entries:
        if isinstance(entry, Row):
            batch.append(entry)
        elif isinstance(entry, ServedList):
            lists.append(entry)
        else:
            _restore_version(archive, entry, there)
        if len(batch) + len(lists) == BATCH_ROWS:
            done = _sum(done, _add(archive, batch, lists))
            batch, lists = [], []
    return _sum(done, _add(archive, batch, lists))


def _restore_version(archive: Archive, version: TrackingRow, there: Mapping[int, TrackingRow]) -> None:
    known = there.get(version["version_number"])
    if known is None:
        archive.track(version)
    elif known["model_md5"] != version["model_md5"]:
        raise OtherHistoryError(
            f"version {version['version_number']} is another one in this database (model {known['model_md5']} here, "
            f"{version['model_md5']} in the backup): restore the backup into the installation that it comes from"
        )


def _add(archive: Archive, rows: Sequence[Row], lists: Sequence[ServedList]) -> Restored:
    """Returns the counts of the answers."""
    with archive.engine.begin() as connection:
        insert_new_lists(connection, lists)
        if not rows:
            return Restored(0, 0, 0)
        found = known_rows(connection, rows, *reccom.c)
        there = {row.answer_id: row for row in (row_of(dict(each._mapping)) for each in found)}  # noqa: SLF001 - its public name
        insert_new(connection, [row for row in rows if row.answer_id not in there])
    same = sum(there.get(row.answer_id) == row for row in rows)
    return Restored(len(rows) - len(there), same, len(there) - same)


def _sum(one: Restored, other: Restored) -> Restored:
    return Restored(*(sum(pair) for pair in zip(one, other, strict=True)))


def _check_format(line: bytes) -> None:
    """Raises BackupError for a line that begins no backup, and for a format that is not known here."""
    try:
        head = json.loads(line)
        name, number = head["format"], head["number"]
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError("line 1: not a backup of this program") from error
    if name != NAME:
        raise BackupError("line 1: not a backup of this program")
    if number not in FORMATS:
        raise BackupError(f"line 1: the backup has format {number}, and this software reads formats up to {FORMAT}")


def _read(line: bytes, number: int) -> Entry:
    try:
        if not line.startswith(b"{"):
            return list_from_line(line) or from_line(line)
        return with_times(json.loads(line)["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"line {number}: neither a version nor an answer ({error})") from error


def _line(entry: Entry) -> bytes:
    if isinstance(entry, Row):
        return to_line(entry)
    return list_line(entry) if isinstance(entry, ServedList) else _json(_with_texts(entry))


def _with_texts(version: TrackingRow) -> dict[str, Any]:
    texts = {name: f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value for name, value in version.items()}
    return {"version": texts}


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True) + "\n").encode()
