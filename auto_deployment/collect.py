"""Lines of the stream become rows of the tables, block by block; what is not taken is kept aside with its reason.

A block is a fixed number of lines of its source. Watches are added up within a block only, so that the rows depend on the
source alone, never on how fast it was read or how often reading was broken off.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from auto_deployment.errors import RefusedError, WrongUseError
from auto_deployment.events import DEFAULT_RULES, NewAccount, Rating, Recommendation, Reject, Repaired, Rules, Watch, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

RATING_HEADER = "user_id,movie_id,rating,rated_at"
WATCH_HEADER = "user_id,movie_id,minutes,watched_at"
BLOCK_LINES = 100_000
LONGEST_READ = 1 << 20
JUDGED_FROM_LINES = 1_000


class Block(NamedTuple):
    """Lines of one source that are taken or left together. `first` is the number of the first one, from 1."""

    source: str
    first: int
    lines: list[str]


class Source(Protocol):
    """Where lines come from. `size` and `done` are in one unit of its own choice, for progress."""

    name: str
    size: int
    done: int

    def blocks(self) -> Iterator[Block]: ...


class Aside(NamedTuple):
    """A line that was rejected or repaired, as it came, and where."""

    reason: str
    line: str
    source: str
    number: int


@dataclass
class Counts:
    """What became of the lines. Every line is in exactly one of `kinds` and `rejected`; `repaired` is a part of `kinds`."""

    lines: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Take the counts of more lines in."""
        self.lines += other.lines
        self.kinds.update(other.kinds)
        self.repaired += other.repaired
        self.rejected.update(other.rejected)


@dataclass
class Rows:
    """What one block adds: rows of the two tables, in order, and the lines kept aside."""

    ratings: list[str]
    watches: list[str]
    rejected: list[Aside]
    repaired: list[Aside]
    counts: Counts


def rows_of(block: Block, rules: Rules = DEFAULT_RULES) -> Rows:
    """The rows of a block: ratings in the order of their lines, watches added up in the order of their first line. Pure.

    One line of a watch is one minute; the row's time is that of the latest one.
    """
    rows = Rows([], [], [], [], Counts(lines=len(block.lines)))
    kinds = rows.counts.kinds
    minutes: dict[tuple[int, str], tuple[int, str]] = {}
    for number, line in enumerate(block.lines, block.first):
        event = parse(line, rules)
        if isinstance(event, Repaired):
            rows.repaired.append(Aside("repaired", event.line, block.source, number))
            event = event.event
        match event:
            case Watch(time, user, film):
                kinds["watch"] += 1
                count, last = minutes.get((user, film), (0, time))
                minutes[user, film] = (count + 1, max(last, time))
            case Rating(time, user, film, stars):
                kinds["rating"] += 1
                rows.ratings.append(f"{user},{film},{stars:g},{time}")
            case Reject(reason, whole):
                rows.counts.rejected[reason] += 1
                rows.rejected.append(Aside(reason, whole, block.source, number))
            case Recommendation():
                kinds["recommendation"] += 1
            case NewAccount():
                kinds["new_account"] += 1
    rows.watches = [f"{user},{film},{count},{last}" for (user, film), (count, last) in minutes.items()]
    rows.counts.repaired = len(rows.repaired)
    return rows


class FileSource:
    """A file of stream lines. `size` and `done` are bytes."""

    def __init__(self, path: Path, block_lines: int = BLOCK_LINES) -> None:
        """Raises WrongUseError where `path` is no file that can be read."""
        try:
            with path.open("rb"):
                self.size = path.stat().st_size
        except OSError as error:
            raise WrongUseError(f"{path}: {error.strerror}: name a file of stream lines") from error
        self.name = str(path)
        self.done = 0
        self._path = path
        self._block_lines = block_lines

    def blocks(self) -> Iterator[Block]:
        """The file's lines; bytes that are no UTF-8 stay as they are. A line beyond 1 MiB comes in pieces of that length."""
        lines: list[str] = []
        first = 1
        with self._path.open("rb") as file:
            while raw := file.readline(LONGEST_READ):
                lines.append(raw.removesuffix(b"\n").decode("utf-8", "surrogateescape"))
                self.done += len(raw)
                if len(lines) == self._block_lines:
                    yield Block(self.name, first, lines)
                    first, lines = first + len(lines), []
        if lines:
            yield Block(self.name, first, lines)


class Tables:
    """The two tables and the lines kept aside, under one folder; only ever appended to."""

    def __init__(self, data_dir: Path) -> None:
        self.ratings = data_dir / "clean_rating.csv"
        self.watches = data_dir / "clean_watch.csv"
        self.quarantine = data_dir / "quarantine" / "rejected.jsonl"
        self.repaired = data_dir / "repaired" / "repaired.jsonl"

    def append(self, rows: Rows) -> None:
        """Add a block's rows and lines, and wait until they are on the disk.

        Raises RefusedError, before anything is added, where a table is not in the shape that rows are added to.
        """
        _check_shape(self.ratings, RATING_HEADER)
        _check_shape(self.watches, WATCH_HEADER)
        _append(self.ratings, RATING_HEADER, rows.ratings)
        _append(self.watches, WATCH_HEADER, rows.watches)
        _append(self.quarantine, None, map(_to_json, rows.rejected))
        _append(self.repaired, None, map(_to_json, rows.repaired))


def _to_json(aside: Aside) -> str:
    return json.dumps(aside._asdict())


def _check_shape(path: Path, header: str) -> None:
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        if file.readline(LONGEST_READ) != f"{header}\n".encode():
            raise RefusedError(f"{path} line 1: the header is not {header}; nothing was added: restore the table")
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            raise RefusedError(f"{path}: the last line has no end; nothing was added: mend or remove that line")


def _append(path: Path, header: str | None, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="ascii", newline="") as file:
        if header is not None and file.tell() == 0:
            file.write(header + "\n")
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def collect(source: Source, tables: Tables, rules: Rules) -> Iterator[Counts]:
    """Append all of `source` to the tables; yields the counts of each block once it is on the disk."""
    for block in source.blocks():
        rows = rows_of(block, rules)
        tables.append(rows)
        yield rows.counts


def check_rejects(counts: Counts, max_share: float) -> None:
    """Refuse lines of which too many were rejected, or of which none is a rating. Raises RefusedError."""
    rejected = counts.rejected.total()
    if not counts.lines:
        raise RefusedError("the input is empty: no line to train on")
    if counts.lines >= JUDGED_FROM_LINES and rejected / counts.lines > max_share:
        raise RefusedError(
            f"{rejected:,} of {counts.lines:,} lines were rejected, more than MAX_REJECT_SHARE ({max_share:g}): "
            f"{told(counts.rejected)}; the lines are kept in quarantine"
        )
    if not counts.kinds["rating"]:
        raise RefusedError(f"none of {counts.lines:,} lines is a rating ({told(counts.rejected) or 'all of other kinds'})")


def told(counts: Counter[str]) -> str:
    """Counts as a person reads them, the most frequent first."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
