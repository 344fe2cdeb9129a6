r"""The lists and struck films of users with new events, as files that services map: many readers, one writer.

A file is one line of JSON, filled up with blanks to a multiple of 8 bytes, then arrays and records:

    users    int64 (n,)    ids, ascending
    ends     int64 (n,)    where each user's record ends
    records  bytes         see `Record`

`recent` has the users who changed last, and names its `base`, which has all others. The writer replaces both by rename, the
base first. So a reader that opens `recent` and then the base that it names always has a whole state. A reader needs no lock
and writes nothing.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import struct
import time
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from app.model import md5_of, read_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from app.model import Array
    from app.settings import ServiceSettings

FORMAT = 1
RECENT = "recent"
STATUS = "status.json"
ASIDE = ".new"
BASE = "base-{:012d}"
CHECK_SECONDS = 0.2
_COUNTS = struct.Struct("<IBH?")
_ALIGN = 8
_LONGEST_HEAD = 1 << 20
log = logging.getLogger(__name__)


class OverlayError(Exception):
    """A file of the overlay is cut, changed or of another format; the text says which."""


class Record(NamedTuple):
    """What is new of a user. `films`, `minutes` and `grades` are of the films begun or rated since the version's data.

    A grade is that of the user's rating, `UNRATED` where there is none. `listed` has the computed list, best first. `source` is
    what the list was computed from. Both are empty without a list. `due`: events have come that the list does not follow yet.
    """

    films: tuple[int, ...]
    minutes: tuple[int, ...]
    grades: tuple[int, ...]
    listed: tuple[int, ...] = ()
    source: str = ""
    due: bool = False


UNRATED = 0xFFFF


def pack(record: Record) -> bytes:
    """A record as bytes."""
    count, listed, source = len(record.films), len(record.listed), record.source.encode("ascii")
    head = _COUNTS.pack(count, listed, len(source), record.due)
    numbers = struct.pack(f"<{count + listed}I{2 * count}H", *record.films, *record.listed, *record.minutes, *record.grades)
    return head + numbers + source


def unpack(content: bytes) -> Record:
    """The record of `pack`."""
    count, listed, size, due = _COUNTS.unpack_from(content)
    numbers = struct.unpack_from(f"<{count + listed}I{2 * count}H", content, _COUNTS.size)
    films, rest = numbers[:count], numbers[count + listed :]
    source = content[len(content) - size :].decode("ascii")
    return Record(films, rest[:count], rest[count:], numbers[count : count + listed], source, due)


def is_due(content: bytes) -> bool:
    """`due` of a record."""
    return bool(content[_COUNTS.size - 1])


def unpack_served(content: bytes) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """What an answer needs of a record, in less time: the struck films, the computed list and its source."""
    count, listed, size, _ = _COUNTS.unpack_from(content)
    numbers = struct.unpack_from(f"<{count + listed}I", content, _COUNTS.size)
    return numbers[:count], numbers[count:], content[len(content) - size :].decode("ascii")


class Status(NamedTuple):
    """What the writer last wrote about itself. `as_of`: the overlay has every line that had come by then, seconds since 1970.

    `due`: users whose list does not follow their events yet. `lost`: lines that Kafka had removed before they were read.
    """

    as_of: float = 0.0
    users: int = 0
    due: int = 0
    lists: int = 0
    lost: int = 0


def write_status(folder: Path, status: Status) -> None:
    """Replace a writer's status. Raises OSError."""
    aside = folder / f"{STATUS}{ASIDE}"
    aside.write_text(json.dumps(status._asdict()) + "\n", encoding="ascii")
    aside.rename(folder / STATUS)


def read_status(folder: Path) -> Status:
    """A writer's status; an empty one where there is none that can be read."""
    try:
        content = json.loads((folder / STATUS).read_text(encoding="ascii"))
        return Status(**{name: type(default)(content[name]) for name, default in Status._field_defaults.items()})
    except (OSError, ValueError, KeyError, TypeError):
        return Status()


def folder_in_use(settings: ServiceSettings) -> Path | None:
    """The overlay that a service follows; None without freshness, or a fresh part of its version. Raises ArtifactError."""
    if not settings.fresh or settings.fresh_dir is None:
        return None
    metadata = read_metadata(settings.model_dir)
    if not metadata.get("fresh"):
        return None
    return folder_of(settings.fresh_dir, settings.model_dir, int(metadata["version"]))


def folder_of(root: Path, model: Path, version: int) -> Path:
    """The folder of a version's overlay: versions of one number can have different models."""
    return root / f"{version}-{md5_of(model / 'metadata.json')[:12]}"


class Table:
    """A mapped file of the overlay."""

    def __init__(self, path: Path, *, whole: bool = True) -> None:
        """Raises OverlayError where the file is damaged, OSError where it cannot be read.

        Without `whole` the records are not read: of a large file that takes too long for an answer.
        """
        with path.open("rb") as file:
            line = file.readline(_LONGEST_HEAD)
            size = os.fstat(file.fileno()).st_size
            try:
                header = json.loads(line)
                users, checksum, head = int(header["users"]), int(header["crc32"]), int(header.pop("head_crc32"))
            except (ValueError, KeyError, TypeError) as error:
                raise OverlayError(f"{path}: has no readable head") from error
            if header.get("format") != FORMAT or head != _checksum(header) or len(line) + 16 * users > size:
                raise OverlayError(f"{path}: is cut or changed, or of another format")
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        content = memoryview(self._map)[len(line) :]
        self.header: Mapping[str, Any] = header
        self.users: Array = np.frombuffer(content, np.int64, users)
        self._ends: Array = np.frombuffer(content, np.int64, users, 8 * users)
        self._records = content[16 * users :]
        if (int(self._ends[-1]) if users else 0) != len(self._records) or (whole and zlib.crc32(content) != checksum):
            raise OverlayError(f"{path}: is cut or changed: its checksum or its size differs")

    def find(self, user: int) -> bytes | None:
        """A user's record as bytes; None where the file has none."""
        at = int(self.users.searchsorted(user))
        if at == len(self.users) or self.users[at] != user:
            return None
        return self.record(at)

    def record(self, at: int) -> bytes:
        """The record of row `at`."""
        return bytes(self._records[int(self._ends[at - 1]) if at else 0 : int(self._ends[at])])


def write(path: Path, header: Mapping[str, Any], records: Mapping[int, bytes], *, synced: bool = False) -> None:
    """Write a file aside and rename it; `synced`, so that it survives a power cut. Raises OSError, and leaves nothing then."""
    order = sorted(records)
    ends = np.cumsum([len(records[user]) for user in order], dtype=np.int64)
    content = b"".join([np.array(order, dtype=np.int64).tobytes(), ends.tobytes(), *(records[user] for user in order)])
    facts = {"format": FORMAT, "users": len(order), "crc32": zlib.crc32(content), **header}
    whole = json.dumps({**facts, "head_crc32": _checksum(facts)}).encode()
    line = whole + b" " * (-(len(whole) + 1) % _ALIGN) + b"\n"
    aside = path.with_name(ASIDE)
    try:
        with aside.open("wb") as file:
            file.write(line)
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        aside.chmod(0o640)  # viewing histories: the services run as the user who writes
        aside.rename(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _checksum(header: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(header, sort_keys=True).encode())


class Reader:
    """Finds the records of users in an overlay that another process writes. For one thread.

    It looks for a new file at most every `CHECK_SECONDS`. A damaged or missing file leaves the last good state in use, and
    `problem` says why. No overlay at all means that nothing is new.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / RECENT
        self._recent: Table | None = None
        self._base: Table | None = None
        self._base_name = ""
        self._stamp: tuple[int, int] | None = None
        self._check_at = 0.0
        self.problem = ""

    def find(self, user: int) -> bytes | None:
        """A user's record; None where nothing is new of the user."""
        if time.monotonic() >= self._check_at:
            self._check()
        if self._recent is None:
            return None
        found = self._recent.find(user)
        return found if found is not None or self._base is None else self._base.find(user)

    def _check(self) -> None:
        self._check_at = time.monotonic() + CHECK_SECONDS
        try:
            status = self._path.stat()
        except OSError as error:
            self.problem = f"{self._path}: {error.strerror}"
            return
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp != self._stamp:
            self._open(stamp)

    def _open(self, stamp: tuple[int, int]) -> None:
        try:
            recent = Table(self._path)
            name = str(recent.header["base"])
            base = self._base if name == self._base_name else Table(self._path.with_name(name), whole=False)
        except (OverlayError, OSError, KeyError) as error:
            # A base that is gone: the writer has replaced both files meanwhile. The next check opens the new ones.
            if not self.problem:
                log.warning("what is new of users is not read now, the last state stays in use: %s", error)
            self.problem = str(error)
            return
        self._recent, self._base, self._base_name, self._stamp, self.problem = recent, base, name, stamp, ""
