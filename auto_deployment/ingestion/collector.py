"""Lines of the stream become rows of the tables, block by block, each exactly once; what is not taken is kept aside.

The state file has the marks and the files' sizes. One rename replaces it after each block's rows are on the disk. After a kill
the next run cuts the tables back to the state. Its tables are those of an undisturbed run, to the byte.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from auto_deployment.common.errors import RefusedError
from auto_deployment.common.intervals import wilson
from auto_deployment.common.json_file import StateError, read_typed, write_json_synced
from auto_deployment.ingestion.rows import Counts, rows_of, worded
from auto_deployment.ingestion.sources import Gap, Plan

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from auto_deployment.ingestion.events import Rules
    from auto_deployment.ingestion.rows import Rows
    from auto_deployment.ingestion.sources import Block, Source
    from auto_deployment.ingestion.tables import Tables

log = logging.getLogger(__name__)

FILE = "collected.json"  # in a data folder
FEWEST_JUDGED, FEWEST_ALL = 20, 3
PLURALS = {"rating": "ratings", "watch": "watches", "recommendation": "recommendation requests", "new_account": "new accounts"}
SCALES = (5, 10, 100)  # the usual highest ratings


class CollectionState(BaseModel):
    """How far the stream was read, and what became of it since the last version: one JSON file.

    `marks` are by source, and `plans` of unfinished runs by the source's name. `sizes` of the files are in bytes. Kafka's
    retention made the `gaps`. `lags` are the unread lines at the ends of the last runs, the newest last. The counts began after
    `version`. `judged` are the counts at the end of the last collection that was judged, and `last` are that collection's own.
    `refused` is the result. `scale` is that of the ratings of the last version, lowest to highest; None before the first.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    marks: dict[str, dict[str, Any]] = {}
    plans: dict[str, Plan] = {}
    sizes: dict[str, int] = {}
    counts: Counts = Field(default_factory=Counts)
    gaps: list[dict[str, Any]] = []
    lags: list[int] = []
    version: int = 0
    judged: Counts = Field(default_factory=Counts)
    last: Counts = Field(default_factory=Counts)
    refused: bool = False
    scale: list[float] | None = None

    def save(self, path: Path) -> None:
        """Replace the file."""
        write_json_synced(path, self.model_dump())

    @staticmethod
    def load(path: Path) -> CollectionState | None:
        """The state in the file; None where there is no file. Raises StateError where the file cannot be read."""
        state = read_typed(path, CollectionState)
        if state is not None and "judged" not in state.model_fields_set:
            # Software 1.0 judged all lines since the last version again and again: those are judged.
            state.judged = copy.deepcopy(state.counts)
        return state


class Keeper(Protocol):
    """Who else keeps something of each block. It never raises, and the same block again replaces what it kept of it."""

    def roll_back(self, marks: Mapping[str, Mapping[str, Any]]) -> None:
        """Drop what is of blocks beyond these marks: they are read again."""
        ...

    def keep(self, source: str, mark: Mapping[str, Any], rows: Rows) -> None:
        """Keep what it wants of the rows of the block of `source` that ends at `mark`, on the disk."""
        ...


class Collector:
    """Appends sources to the tables of a data folder, exactly once."""

    def __init__(self, tables: Tables, path: Path, rules: Rules, keeper: Keeper | None = None) -> None:
        """`path` is the state's file; what a killed run wrote after it is cut off. Raises StateError or TableError."""
        self._tables = tables
        self._path = path
        self._rules = rules
        self._keeper = keeper
        state = CollectionState.load(path)
        if state is None and any(tables.sizes().values()):
            raise StateError(
                f"{path}: is missing, but there are rows that it has to account for: restore it, or move them away"
            )
        self.state = state or CollectionState(format=1)
        self.capped = False
        tables.roll(self.state.version)
        cut = tables.roll_back(self.state.sizes)
        if cut:
            log.warning("took back %d bytes that a run wrote without recording them; their lines are read again", cut)
        if keeper is not None:
            keeper.roll_back(self.state.marks)

    def collect(self, source: Source, go_on: Callable[[], bool]) -> Iterator[int]:
        """Read what `source` has now, or what a killed run of it left; yields how much is left after each block.

        `go_on` is asked before each block: a run that may not go on ends at a block's edge, and is `capped`.
        """
        state = self.state
        resumed = source.name in state.plans
        if not resumed:
            state.plans[source.name] = source.plan(state.marks)
            state.marks |= source.begin(state.plans[source.name], state.marks)
            state.save(self._path)
        plan = source.still_there(state.plans[source.name], state.marks) if resumed else state.plans[source.name]
        for block in source.blocks(plan, state.marks):
            self._take(block)
            yield source.left(plan, state.marks)
            if not go_on():
                resumed, self.capped = False, source.left(plan, state.marks) > 0
                break
        del state.plans[source.name]
        state.save(self._path)
        if resumed:  # what that run read is not all that this one was asked for
            yield from self.collect(source, go_on)

    def note_lag(self, lag: int) -> None:
        """Remember what a run left unread; the last three are kept."""
        self.state.lags = [*self.state.lags, lag][-3:]
        self.state.save(self._path)

    def judge(self, max_share: float, hints: Sequence[str] = ()) -> None:
        """Judge what came in since the last collection that was judged, once, whatever becomes of it.

        Raises RefusedError when too much of it was rejected: see `check_rejects`. What was taken stays. The message
        names the file of the rejected lines.
        """
        state = self.state
        state.last, state.judged = state.counts.since(state.judged), copy.deepcopy(state.counts)
        state.refused = True
        try:
            check_rejects(state.last, max_share, self._rules, hints)
            state.refused = False
        except RefusedError as error:
            kept = f"{self._tables.quarantine} has these lines with their reasons, the tables have the others"
            raise RefusedError(f"{error}; {kept}; the form of a line: docs/stream.md", error.figures, error.limit) from error
        finally:
            state.save(self._path)

    def begin_version(self, number: int) -> None:
        """Version `number` holds all rows so far: counts and gaps begin anew, once."""
        if self.state.version < number:
            self._tables.roll(number)
            self.state.counts, self.state.judged = Counts(), Counts()
            self.state.gaps, self.state.version = [], number
            self.state.scale = [self._rules.rating_min, self._rules.rating_max]
            self.state.sizes = self._tables.sizes()
            self.state.save(self._path)

    def _take(self, block: Block | Gap) -> None:
        state = self.state
        if isinstance(block, Gap):
            log.error("%s: offsets %d to %d are gone, retention was faster", block.source, block.start, block.stop - 1)
            state.gaps.append(
                {"source": block.source, "start": block.start, "stop": block.stop, "lines": block.stop - block.start}
            )
        else:
            rows = rows_of(block, self._rules)
            self._tables.append(rows)
            if self._keeper is not None:
                self._keeper.keep(block.source, block.mark, rows)
            state.counts.add(rows.counts)
        state.marks[block.source] = block.mark
        state.sizes = self._tables.sizes()
        state.save(self._path)


def lag_grows(lags: list[int]) -> bool:
    """Whether the last run left more unread than the one before it."""
    return len(lags) > 1 and lags[-1] > lags[-2]


def check_trainable(counts: Counts) -> None:
    """Refuse an input without a rating. Raises RefusedError."""
    if not counts.lines:
        raise RefusedError("the input is empty: no line to train on")
    if not counts.kinds["rating"]:
        raise RefusedError(f"none of {counts.lines:,} lines is a rating ({worded(counts.rejected) or 'all of other kinds'})")


def check_rejects(counts: Counts, max_share: float, rules: Rules, hints: Sequence[str] = ()) -> None:
    """Refuse lines of which too many were rejected: of one kind, since the few ratings are lost in the mass, or of all.

    Too many means: the lower bound of the rejects' share (95 %, Wilson) is above `max_share`. Any reject is too many when
    `hints` say that an input is not lines of text. Raises RefusedError.
    """
    if hints and counts.rejected:
        text = f"{counts.rejected.total():,} of {counts.lines:,} lines were rejected: {worded(counts.rejected)}"
        raise _refusal([*hints, text], counts.rejected.total(), counts.lines, max_share)
    for kind, name in PLURALS.items():
        rejected = counts.rejected_of(kind)
        lines = rejected.total() + counts.kinds[kind]
        if lines >= FEWEST_JUDGED:
            _check_share(rejected, lines, name, max_share, _scale_hints(rejected, lines, rules))
    if counts.lines >= FEWEST_JUDGED or counts.lines == counts.rejected.total() >= FEWEST_ALL:
        _check_share(counts.rejected, counts.lines, "lines", max_share, [])


def _check_share(rejected: Counter[str], lines: int, name: str, max_share: float, hints: Sequence[str]) -> None:
    count = rejected.total()
    if not count or wilson(count / lines, lines)[0] <= max_share:
        return
    text = f"{count:,} of {lines:,} {name} were rejected, more than MAX_REJECT_SHARE ({max_share:g}): {worded(rejected)}"
    raise _refusal([*hints, text], count, lines, max_share)


def _refusal(reasons: Sequence[str], rejected: int, lines: int, max_share: float) -> RefusedError:
    return RefusedError("; ".join(reasons), {"lines": lines, "rejected": rejected}, max_share)


def _scale_hints(rejected: Counter[str], lines: int, rules: Rules) -> list[str]:
    """Whether the scale of the settings is not that of the ratings."""
    above, below = rejected["rating_above_scale"], rejected["rating_below_scale"]
    if max(above, below) * 2 <= rejected.total():
        return []
    if above > below:
        wider = next((highest for highest in SCALES if highest > rules.rating_max), None)
        scale = f": is the scale {rules.rating_min:g} to {wider}?" if wider else ": what is the scale?"
        return [f"{above:,} of {lines:,} ratings lie above RATING_MAX ({rules.rating_max:g}){scale}"]
    return [f"{below:,} of {lines:,} ratings lie below RATING_MIN ({rules.rating_min:g}): does the scale begin lower?"]
