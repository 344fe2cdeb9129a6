"""A block's lines become rows of the tables, kept lines and counts. Every line is counted once. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import with_config

from app.events import (
    DEFAULT_RULES,
    NewAccount,
    Rating,
    Recommendation,
    Reject,
    Repaired,
    Rules,
    Watch,
    kind_of,
    parse,
    watches_of,
    with_seconds,
)

if TYPE_CHECKING:
    from auto_deployment.ingestion.sources import Block


NO_WATCH = ("", "", "")
# The lines of larger pieces leave the processor's cache before they are counted.
LINES_TOGETHER = 2_000


class KeptLine(NamedTuple):
    """A rejected or repaired line as it came, with its source and its offset or line number."""

    reason: str
    line: str
    source: str
    number: int


@with_config(extra="forbid")
@dataclass
class Counts:
    """The counts of lines. Every line is in exactly one of `kinds` and `rejected`. `repaired` is a part of `kinds`.

    `rejected` counts by reason, `rejected_kinds` by kind of line and reason, as `rating/user`.
    """

    lines: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_kinds: Counter[str] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Add the counts of more lines."""
        self.lines += other.lines
        self.kinds.update(other.kinds)
        self.repaired += other.repaired
        self.rejected.update(other.rejected)
        self.rejected_kinds.update(other.rejected_kinds)

    def rejected_of(self, kind: str) -> Counter[str]:
        """The rejects of one kind of line, by reason."""
        pairs = ((name.partition("/"), count) for name, count in self.rejected_kinds.items())
        return Counter({reason: count for (of, _, reason), count in pairs if of == kind})

    def since(self, before: Counts) -> Counts:
        """The counts since the earlier counts `before`."""
        kinds, rejected = self.kinds - before.kinds, self.rejected - before.rejected
        of_kinds = self.rejected_kinds - before.rejected_kinds
        return Counts(self.lines - before.lines, kinds, self.repaired - before.repaired, rejected, of_kinds)


@dataclass
class BlockRows:
    """The result of one block: rows of the two tables in order, kept lines, counts and visitors.

    Visitors are the users who requested a recommendation, rated or joined, each once. `answers` are our own, for the telemetry.
    """

    ratings: list[str]
    watches: list[str]
    rejected: list[KeptLine]
    repaired: list[KeptLine]
    counts: Counts
    visitors: dict[int, None] = field(default_factory=dict)
    answers: list[Recommendation] = field(default_factory=list)


def rows_of(block: Block, rules: Rules = DEFAULT_RULES) -> BlockRows:
    """The rows of a block: ratings in the order of their lines, and watches summed in the order of their first line. Pure.

    One line of a watch is one minute. The row has the times of the first and the last minute.
    """
    rows = BlockRows([], [], [], [], Counts(lines=len(block.lines)))
    minutes: dict[tuple[str, str], list[Any]] = {}
    for first in range(0, len(block.lines), LINES_TOGETHER):
        lines = block.lines[first : first + LINES_TOGETHER]
        for at, (time, user, film) in enumerate(watches_of(lines, rules) or [NO_WATCH] * len(lines), first):
            if not film:
                time, user, film = _take(rows, block, at, rules)  # noqa: PLW2901 - a repaired watch
                if not film:
                    continue
            known = minutes.get((user, film))
            if known is None:
                minutes[user, film] = [1, time, time]
            else:
                known[0] += 1
                if time > known[1]:
                    known[1] = time
                elif time < known[2]:
                    known[2] = time
    if minutes:
        rows.counts.kinds["watch"] = sum(count for count, _, _ in minutes.values())
    rows.watches = [
        f"{user},{film},{count},{with_seconds(first)},{with_seconds(last)}"
        for (user, film), (count, last, first) in minutes.items()
    ]
    rows.counts.repaired = len(rows.repaired)
    return rows


def _take(rows: BlockRows, block: Block, at: int, rules: Rules) -> tuple[str, str, str]:
    """Add one line to `rows`. Returns time, user and film of a watch, or NO_WATCH."""
    event, number = parse(block.lines[at], rules), block.numbers[at]
    if isinstance(event, Repaired):
        rows.repaired.append(KeptLine("repaired", event.line, block.source, number))
        event = event.event
    match event:
        case Watch(time, user, film):
            return time, str(user), film
        case Rating(time, user, film, stars):
            rows.visitors[user] = None
            rows.counts.kinds["rating"] += 1
            rows.ratings.append(f"{user},{film},{stars:g},{time}")
        case Reject(reason, whole):
            rows.counts.rejected[reason] += 1
            rows.counts.rejected_kinds[f"{kind_of(whole)}/{reason}"] += 1
            rows.rejected.append(KeptLine(reason, whole, block.source, number))
        case Recommendation():
            rows.visitors[event.user] = None
            rows.counts.kinds["recommendation"] += 1
            rows.answers.append(event)
        case NewAccount():
            rows.visitors[event.user] = None
            rows.counts.kinds["new_account"] += 1
    return NO_WATCH


def counts_text(counts: Counter[str]) -> str:
    """Counts as text, the most frequent first."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
