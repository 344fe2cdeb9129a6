"""Sources of stream lines: files, and the partitions of a topic. Both are cut into fixed blocks.

A block of a topic ends at a multiple of `BLOCK_LINES` offsets, and a block of a file at a multiple of as many lines. Either
ends earlier with the line that brings it to `BLOCK_BYTES`. The last block of a run ends at the planned end. The next block
follows from the marks and the plan alone. So a run after a kill reads in the same order as a run without one.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from auto_deployment.common.errors import WrongUseError
from auto_deployment.ingestion.kafka.client import OffsetGoneError, StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from auto_deployment.ingestion.kafka.client import Client, MessageBatch

    Marks: TypeAlias = Mapping[str, Mapping[str, Any]]

# The stream lines that come with the project.
SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "movielog.log"
BLOCK_LINES = 100_000
BLOCK_BYTES = 64 << 20
LONGEST_READ = 1 << 20
FORMATS = {
    b"\xff\xfe": "UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\x1f\x8b": "gzip: unpack it (gunzip)",
    b"\x28\xb5\x2f\xfd": "zstd: unpack it (unzstd)",
    b"\xfd7zXZ\x00": "xz: unpack it (unxz)",
    b"BZh": "bzip2: unpack it (bunzip2)",
    b"PK\x03\x04": "a zip archive: unpack it (unzip)",
}


class Block(NamedTuple):
    """Lines that are collected together, or not at all. `numbers` are offsets or line numbers, `mark` is the end."""

    source: str
    numbers: Sequence[int]
    lines: list[str]
    mark: dict[str, Any]


class RetentionGap(NamedTuple):
    """Offsets that Kafka's retention removed before we read them."""

    source: str
    start: int
    stop: int
    mark: dict[str, Any]


@dataclass(frozen=True)
class ReadPlan:
    """The start and end of each source that a run reads, fixed before the first row."""

    starts: dict[str, int]
    ends: dict[str, int]


class StreamSource(Protocol):
    """A source of stream lines. Its units are bytes of a file, or offsets of a topic."""

    name: str
    unit: str

    def plan(self, marks: Marks) -> ReadPlan:
        """The plan of a new run, given how far each source was read before."""
        ...

    def first_marks(self, plan: ReadPlan, marks: Marks) -> dict[str, dict[str, Any]]:
        """New marks for sources that need a mark even if none of their lines is read."""
        ...

    def resume(self, plan: ReadPlan, marks: Marks) -> ReadPlan:
        """The plan of a killed run, if all of it can still be read. Otherwise raises RunError that says what to do."""
        ...

    def blocks(self, plan: ReadPlan, marks: Marks) -> Iterator[Block | RetentionGap]:
        """The remaining blocks of a plan, in a fixed order. The caller updates `marks` after each block."""
        ...

    def remaining(self, plan: ReadPlan, marks: Marks) -> int:
        """The units of the plan that are not read yet."""
        ...


class FileSource:
    """Files of stream lines. A file is identified by its path and the checksum of its lines that were read."""

    name = "files"
    unit = "bytes"

    def __init__(self, paths: Sequence[Path], block_lines: int = BLOCK_LINES) -> None:
        """Raises WrongUseError if one of `paths` is not a file that can be read."""
        self._paths = list(dict.fromkeys(path.absolute() for path in paths))
        self._block_lines = block_lines
        self._new: set[Path] = set()
        for path in self._paths:
            check_readable(path)

    def plan(self, marks: Marks) -> ReadPlan:
        """See `StreamSource`. Each file is read from its mark to its present size."""
        keys = {_key(path, marks): path for path in self._paths}
        starts = {key: int(marks.get(key, {}).get("bytes", 0)) for key in keys}
        ends = {key: path.stat().st_size for key, path in keys.items()}
        self._new |= {path for key, path in keys.items() if starts[key] < ends[key]}
        return ReadPlan(starts, ends)

    def first_marks(self, plan: ReadPlan, marks: Marks) -> dict[str, dict[str, Any]]:  # noqa: ARG002 - the interface
        """See `StreamSource`. No file needs a mark before its first block."""
        return {}

    def resume(self, plan: ReadPlan, marks: Marks) -> ReadPlan:
        """See `StreamSource`. Raises WrongUseError if an unfinished file is gone, or shorter than it was."""
        for key, end in plan.ends.items():
            path, read = _path_of(key), int(marks.get(key, {}).get("bytes", 0))
            if read < end and _size_of(path) < end:
                why = "is shorter than it was" if path.exists() else "No such file or directory"
                raise WrongUseError(
                    f"{path}: {why}, and an earlier run has not read it to its end: put it back, or take {key} out of "
                    "the plans in data/collected.json"
                )
        return plan

    def blocks(self, plan: ReadPlan, marks: Marks) -> Iterator[Block]:
        """See `StreamSource`. File by file. Bytes that are not UTF-8 are preserved. A line beyond 1 MiB comes in pieces."""
        for key, end in plan.ends.items():
            if int(marks.get(key, {}).get("bytes", 0)) < end:
                yield from self._file_blocks(key, _path_of(key), end, marks)

    def remaining(self, plan: ReadPlan, marks: Marks) -> int:
        """See `StreamSource`. In bytes."""
        return sum(end - int(marks.get(key, {}).get("bytes", 0)) for key, end in plan.ends.items())

    def hints(self) -> list[str]:
        """Messages for files with new content whose first bytes are those of another format."""
        found = ((path, _format_of(path)) for path in sorted(self._new))
        return [f"{path} looks like {name}" for path, name in found if name]

    def _file_blocks(self, key: str, path: Path, end: int, marks: Marks) -> Iterator[Block]:
        mark = marks.get(key, {"bytes": 0, "lines": 0})
        at, number = int(mark["bytes"]), int(mark["lines"])
        check_readable(path)
        digest = _digest(path, at)
        with path.open("rb") as file:
            file.seek(at)
            while at < end:
                lines: list[str] = []
                stop, begun = (number // self._block_lines + 1) * self._block_lines, at
                while number + len(lines) < stop and at < min(end, begun + BLOCK_BYTES):
                    raw = file.readline(min(LONGEST_READ, end - at))
                    if not raw:
                        raise WrongUseError(f"{path}: is shorter than when the run began: leave it alone while it is read")
                    at += len(raw)
                    digest.update(raw)
                    lines.append(raw.removesuffix(b"\n").decode("utf-8", "surrogateescape"))
                numbers = range(number + 1, number + 1 + len(lines))
                number += len(lines)
                yield Block(key, numbers, lines, {"bytes": at, "lines": number, "sha256": digest.hexdigest()})


class TopicSource:
    """The partitions of a topic, block by block in turn."""

    unit = "offsets"

    def __init__(self, client: Client, topic: str, begin: str = "earliest", block_offsets: int = BLOCK_LINES) -> None:
        """`begin` is where the very first run starts: `earliest`, `latest`, or a time in milliseconds since 1970."""
        self.name = f"topic {topic}"
        self._client = client
        self._topic = topic
        self._begin = begin
        self._block = block_offsets

    def plan(self, marks: Marks) -> ReadPlan:
        """See `StreamSource`. The plan ends at the present end offsets. A new partition starts at its first offset.

        Raises StreamError if a partition ends before its mark.
        """
        ends = self._client.end_offsets()
        begin = self._first_run() if not any(self._key(each) in marks for each in ends) else self._client.first_offsets()
        starts = {self._key(each): int(marks.get(self._key(each), {"offset": begin[each]})["offset"]) for each in sorted(ends)}
        for each in sorted(ends):
            _check_not_recreated(self._key(each), starts[self._key(each)], ends[each])
        return ReadPlan(starts, {self._key(each): ends[each] for each in sorted(ends)})

    def first_marks(self, plan: ReadPlan, marks: Marks) -> dict[str, dict[str, Any]]:
        """See `StreamSource`. Each partition gets a mark, so that `begin` applies to the first run only."""
        return {key: {"offset": start} for key, start in plan.starts.items() if key not in marks}

    def resume(self, plan: ReadPlan, marks: Marks) -> ReadPlan:  # noqa: ARG002 - the interface
        """See `StreamSource`. Raises StreamError if a partition ends before the plan."""
        ends = self._client.end_offsets()
        for key, end in plan.ends.items():
            _check_not_recreated(key, end, ends.get(_partition(key), 0))
        return plan

    def blocks(self, plan: ReadPlan, marks: Marks) -> Iterator[Block | RetentionGap]:
        """See `StreamSource`. The next block is of the partition with the fewest blocks in this run, of equals the lowest."""
        while (key := self._next(plan, marks)) is not None:
            start = self._at(key, plan, marks)
            stop = min((start // self._block + 1) * self._block, plan.ends[key])
            try:
                yield self._read(key, start, stop)
            except OffsetGoneError:
                first = min(self._client.first_offsets()[_partition(key)], plan.ends[key])
                yield RetentionGap(key, start, first, {"offset": first})

    def remaining(self, plan: ReadPlan, marks: Marks) -> int:
        """See `StreamSource`. In offsets."""
        return sum(end - self._at(key, plan, marks) for key, end in plan.ends.items())

    def lags(self, marks: Marks) -> dict[str, int]:
        """The number of unread offsets of each partition at this moment."""
        ends = {self._key(each): end for each, end in self._client.end_offsets().items()}
        return {key: max(end - int(marks.get(key, {}).get("offset", end)), 0) for key, end in ends.items()}

    def _read(self, key: str, start: int, stop: int) -> Block:
        numbers: list[int] = []
        lines: list[str] = []
        held = 0
        for batch in self._client.read(_partition(key), start, stop):
            taken, held = _within(batch, held)
            numbers += batch.offsets[:taken]
            lines += [value.decode("utf-8", "surrogateescape") for value in batch.values[:taken]]
            if held >= BLOCK_BYTES:
                return Block(key, numbers, lines, {"offset": numbers[-1] + 1})
        return Block(key, numbers, lines, {"offset": stop})

    def _next(self, plan: ReadPlan, marks: Marks) -> str | None:
        open_ones = [key for key, end in plan.ends.items() if self._at(key, plan, marks) < end]
        return min(open_ones, key=lambda key: (self._rounds(key, plan, marks), _partition(key)), default=None)

    def _rounds(self, key: str, plan: ReadPlan, marks: Marks) -> int:
        return self._at(key, plan, marks) // self._block - plan.starts[key] // self._block

    def _at(self, key: str, plan: ReadPlan, marks: Marks) -> int:
        return int(marks.get(key, {"offset": plan.starts[key]})["offset"])

    def _first_run(self) -> dict[int, int]:
        if self._begin == "earliest":
            return self._client.first_offsets()
        return self._client.end_offsets() if self._begin == "latest" else self._client.offsets_at(int(self._begin))

    def _key(self, partition: int) -> str:
        return f"{self._topic}/{partition}"


def _size_of(path: Path) -> int:
    """A file's size, or -1 without a file."""
    return path.stat().st_size if path.exists() else -1


def _check_not_recreated(key: str, read: int, end: int) -> None:
    """Refuse a topic that was made anew: waiting until it is longer than the old topic would lose lines. Raises StreamError."""
    if end < read:
        raise StreamError(
            f"{key} ends at offset {end:,}, but was known up to {read:,}: was the topic made anew? Then take {key} out "
            "of the marks in data/collected.json, and the topic out of the plans, and it is read from its first offset. "
            "If it was cut, it is read again once it has grown beyond that"
        )


def _within(batch: MessageBatch, held: int) -> tuple[int, int]:
    """How many values of a batch fit into a block that holds `held` bytes, and the bytes that the block holds then."""
    size = sum(map(len, batch.values))
    if held + size < BLOCK_BYTES:
        return len(batch.values), held + size
    for at, value in enumerate(batch.values):
        held += len(value)
        if held >= BLOCK_BYTES:
            return at + 1, held
    return len(batch.values), held


def _partition(key: str) -> int:
    return int(key.rpartition("/")[2])


def check_readable(path: Path) -> None:
    """Refuse anything but a readable file of the disk: a run may read lines twice. Raises WrongUseError."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise WrongUseError(f"{path}: is a folder: name a file of stream lines")
        if not stat.S_ISREG(mode):  # to open a pipe without a writer blocks for ever
            raise WrongUseError(
                f"{path}: is not a file of the disk, and a run that was broken off could not read it again: "
                "write the lines to a file, and name a file of stream lines"
            )
        with path.open("rb"):
            return
    except OSError as error:
        raise WrongUseError(f"{path}: {error.strerror}: name a file of stream lines") from error


def _format_of(path: Path) -> str:
    """The format of a file by its first bytes. Empty for plain text, and for a file that is gone."""
    try:
        with path.open("rb") as file:
            first = file.read(6)
    except OSError:
        return ""
    if len(first) > 1 and 0 in first[:2]:
        return "UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"
    return next((name for magic, name in FORMATS.items() if first.startswith(magic)), "")


def _key(path: Path, marks: Marks) -> str:
    """The key of a file: the key of the mark whose bytes the file begins with, or a new key."""
    known = [key for key in marks if key.startswith("file:") and key.rpartition("#")[0] == f"file:{path}"]
    for key in known:
        size = int(marks[key]["bytes"])
        if path.stat().st_size >= size and _digest(path, size).hexdigest() == marks[key]["sha256"]:
            return key
    return f"file:{path}#{len(known)}"


def _path_of(key: str) -> Path:
    """The file of a key. A killed run may have read other files than this run."""
    return Path(key.removeprefix("file:").rpartition("#")[0])


def _digest(path: Path, size: int) -> hashlib._Hash:
    """The checksum of the first `size` bytes of a file, which the caller extends."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, LONGEST_READ))):
            digest.update(block)
            size -= len(block)
    return digest
