"""A backup as lines of text: what it is, the `tracking` rows as JSON, the answers as journal lines, and a seal at the end."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from app.journal import Row, from_line, to_line
from app.provenance.ledger import insert_new, known_rows
from app.provenance.tables import reccom, row_of, with_times

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from app.provenance.archive import Archive

FORMAT = {"format": "movierec provenance", "number": 1}
BATCH_ROWS = 2000

Held: TypeAlias = dict[str, Any] | Row


class BackupError(Exception):
    """The file is no backup, or not a whole one; the text says what is wrong."""


class OtherHistoryError(Exception):
    """The backup is of another installation: a version's number stands for something else here."""


class Restored(NamedTuple):
    """Rows that a restore added, that were there already, and that are there with other content and stay as they are."""

    added: int
    known: int
    different: int


class _Seal:
    """Counts and digests lines, on either side."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._versions = self._answers = 0

    def add(self, line: bytes, held: Held | None) -> bytes:
        """Take a line into account; the line."""
        self._digest.update(line)
        self._versions += isinstance(held, dict)
        self._answers += isinstance(held, Row)
        return line

    def told(self) -> dict[str, Any]:
        """What the last line says."""
        return {"versions": self._versions, "answers": self._answers, "sha256": self._digest.hexdigest()}


def to_lines(held: Iterable[Held]) -> Iterator[bytes]:
    """The lines of a backup of versions and answers."""
    seal = _Seal()
    yield seal.add(_json(FORMAT), None)
    for each in held:
        yield seal.add(to_line(each) if isinstance(each, Row) else _json(_with_texts(each)), each)
    yield _json({"seal": seal.told()})


def from_lines(lines: Iterable[bytes]) -> Iterator[Held]:
    """Versions and answers of a backup's lines. Raises BackupError for others, and at the end where one is missing."""
    seal, number = _Seal(), 0
    for number, line in enumerate(lines, 1):
        if number == 1:
            if line != _json(FORMAT):
                raise BackupError("line 1: not a backup of this program")
            seal.add(line, None)
        elif line.startswith(b'{"seal"'):
            if line != _json({"seal": seal.told()}):
                raise BackupError(f"line {number}: lines were changed or left out before it")
            return
        else:
            held = _read(line, number)
            seal.add(line, held)
            yield held
    raise BackupError(f"line {number}: it ends before its seal: the backup was cut off")


def restore(archive: Archive, held: Iterable[Held]) -> Restored:
    """Add the versions and answers that are not there yet; none that is there is changed.

    Raises OtherHistoryError, before any answer is added, where a version's number stands for another training here.
    """
    done, batch, there = Restored(0, 0, 0), list[Row](), {row["version_number"]: row for row in archive.versions()}
    for each in held:
        if isinstance(each, Row):
            batch.append(each)
        else:
            _restore_version(archive, each, there)
        if len(batch) == BATCH_ROWS:
            done, batch = _sum(done, _add(archive, batch)), []
    return _sum(done, _add(archive, batch))


def _restore_version(archive: Archive, version: Mapping[str, Any], there: Mapping[int, Mapping[str, Any]]) -> None:
    known = there.get(version["version_number"])
    if known is None:
        archive.track(version)
    elif known["model_md5"] != version["model_md5"]:
        raise OtherHistoryError(
            f"version {version['version_number']} is another one in this database (model {known['model_md5']} here, "
            f"{version['model_md5']} in the backup): restore it into the installation that it is of"
        )


def _add(archive: Archive, rows: Sequence[Row]) -> Restored:
    if not rows:
        return Restored(0, 0, 0)
    with archive.engine.begin() as connection:
        found = known_rows(connection, rows, *reccom.c)
        there = {row.answer_id: row for row in (row_of(dict(each._mapping)) for each in found)}  # noqa: SLF001 - its public name
        insert_new(connection, [row for row in rows if row.answer_id not in there])
    same = sum(there.get(row.answer_id) == row for row in rows)
    return Restored(len(rows) - len(there), same, len(there) - same)


def _sum(one: Restored, other: Restored) -> Restored:
    return Restored(*(sum(pair) for pair in zip(one, other, strict=True)))


def _read(line: bytes, number: int) -> Held:
    try:
        if not line.startswith(b"{"):
            return from_line(line)
        return with_times(json.loads(line)["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"line {number}: neither a version nor an answer ({error})") from error


def _with_texts(version: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value for name, value in version.items()}
    return {"version": texts}


def _json(told: Mapping[str, Any]) -> bytes:
    return (json.dumps(told, sort_keys=True) + "\n").encode()
