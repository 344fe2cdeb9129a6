"""Lines of the stream become rows of the tables, block by block, each exactly once. Rejected lines go to the quarantine.

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
from auto_deployment.ingestion.rows import Counts, counts_text, rows_of
from auto_deployment.ingestion.sources import ReadPlan, RetentionGap
from auto_deployment.versioning.repository import WATCHES

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from app.events import Rules
    from auto_deployment.ingestion.rows import BlockRows
    from auto_deployment.ingestion.sources import Block, StreamSource
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
    plans: dict[str, ReadPlan] = {}
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
        if state is not None and not {"plans", "counts"} <= state.model_fields_set:
            raise StateError(f"{path}: has no plans or no counts: restore the file")
        if state is not None and "judged" not in state.model_fields_set:
            # Software 1.0 judged all lines since the last version again and again: those are judged.
            state.judged = copy.deepcopy(state.counts)
        return state


class BlockSink(Protocol):
    """Another receiver of each block's rows. It never raises. The same block again replaces what it wrote."""

    def roll_back(self, marks: Mapping[str, Mapping[str, Any]]) -> None:
        """Drop the data of blocks beyond these marks: these blocks are read again."""
        ...

    def keep(self, source: str, mark: Mapping[str, Any], rows: BlockRows) -> None:
        """Write data of the block of `source` that ends at `mark` to the disk."""
        ...


class Collector:
    """Appends sources to the tables of a data folder, exactly once."""

    def __init__(self, tables: Tables, path: Path, rules: Rules, sink: BlockSink | None = None) -> None:
        """`path` is the state's file. Rows that a killed run wrote after it are cut off. Raises StateError or TableError."""
        self._tables = tables
        self._path = path
        self._rules = rules
        self._sink = sink
        state = CollectionState.load(path)
        if state is None and any(tables.sizes().values()):
            raise StateError(f"{path}: is missing, but the tables have rows: restore the file, or move the tables away")
        if state is not None and WATCHES in state.sizes:
            raise StateError(
                f"{path}: software before 1.1 wrote this file: run python -m auto_deployment.auto_deploy, which takes it over; "
                "for a demo or a sample, remove the data folder"
            )
        self.state = state or CollectionState(format=1)
        self.capped = False
        tables.roll(self.state.version)
        cut = tables.roll_back(self.state.sizes)
        tables.drop_rolled()
        if cut:
            log.warning("removed %d bytes that a killed run wrote without recording them; their lines are read again", cut)
        if sink is not None:
            sink.roll_back(self.state.marks)

    def collect(self, source: StreamSource, may_continue: Callable[[], bool]) -> Iterator[int]:
        """Collect `source` to its present end, after the rest of a killed run. Yields the remaining units after each block.

        The run stops after a block when `may_continue` returns False, and is `capped` if lines are left.
        """
        state = self.state
        resumed = source.name in state.plans
        if not resumed:
            state.plans[source.name] = source.plan(state.marks)
            state.marks |= source.first_marks(state.plans[source.name], state.marks)
            state.save(self._path)
        plan = source.resume(state.plans[source.name], state.marks) if resumed else state.plans[source.name]
        for block in source.blocks(plan, state.marks):
            self._take(block)
            yield source.remaining(plan, state.marks)
            if not may_continue():
                resumed, self.capped = False, source.remaining(plan, state.marks) > 0
                break
        del state.plans[source.name]
        state.save(self._path)
        if resumed:  # the killed run's plan may end before the present end
            yield from self.collect(source, may_continue)

    def note_lag(self, lag: int) -> None:
        """Record the unread lines of a run. The last three values are kept."""
        self.state.lags = [*self.state.lags, lag][-3:]
        self.state.save(self._path)

    def judge(self, max_share: float, hints: Sequence[str] = ()) -> None:
        """Judge the lines since the last judged collection, once.

        Raises RefusedError if too many lines were rejected: see `check_rejects`. The message names the file of the rejected
        lines. The other lines stay in the tables.
        """
        state = self.state
        state.last, state.judged = state.counts.since(state.judged), copy.deepcopy(state.counts)
        state.refused = True
        try:
            check_rejects(state.last, max_share, self._rules, hints)
            state.refused = False
        except RefusedError as error:
            kept = f"{self._tables.quarantine} has these lines with their reasons, the tables have the others"
            raise RefusedError(f"{error}; {kept}; the form of a line: docs/stream.md", error.metrics, error.limit) from error
        finally:
            state.save(self._path)

    def begin_version(self, number: int, watches_end: int) -> None:
        """Start new counts, gaps and open watches, once: version `number` has the rows so far.

        Its part has the watches up to byte `watches_end`. The state decides which file of open watches counts.
        """
        if self.state.version < number:
            self._tables.carry_over(number, watches_end)
            self._tables.roll(number)
            self.state.counts, self.state.judged = Counts(), Counts()
            self.state.gaps, self.state.version = [], number
            self.state.scale = [self._rules.rating_min, self._rules.rating_max]
            self.state.sizes = self._tables.sizes()
            self.state.save(self._path)
            self._tables.drop_rolled()

    def _take(self, block: Block | RetentionGap) -> None:
        state = self.state
        if isinstance(block, RetentionGap):
            log.error(
                "%s: offsets %d to %d are gone: retention removed them before a run read them",
                block.source,
                block.start,
                block.stop - 1,
            )
            state.gaps.append(
                {"source": block.source, "start": block.start, "stop": block.stop, "lines": block.stop - block.start}
            )
        else:
            rows = rows_of(block, self._rules)
            self._tables.append(rows)
            if self._sink is not None:
                self._sink.keep(block.source, block.mark, rows)
            state.counts.add(rows.counts)
        state.marks[block.source] = block.mark
        state.sizes = self._tables.sizes()
        state.save(self._path)


def lag_grows(lags: list[int]) -> bool:
    """Whether the last run left more lines unread than the run before."""
    return len(lags) > 1 and lags[-1] > lags[-2]


def check_trainable(counts: Counts) -> None:
    """Refuse an input without a rating. Raises RefusedError."""
    if not counts.lines:
        raise RefusedError("the input is empty: no line to train on")
    if not counts.kinds["rating"]:
        raise RefusedError(
            f"none of {counts.lines:,} lines is a rating ({counts_text(counts.rejected) or 'all of other kinds'})"
        )


def check_rejects(counts: Counts, max_share: float, rules: Rules, hints: Sequence[str] = ()) -> None:
    """Refuse a collection if too many lines of one kind, or of all kinds, were rejected. Raises RefusedError.

    Each kind is checked alone, because the few ratings are lost among the watches. Too many means that the lower bound of the
    rejected share (95 %, Wilson) is above `max_share`. With `hints` that an input is not text, one rejected line is too many.
    """
    if hints and counts.rejected:
        text = f"{counts.rejected.total():,} of {counts.lines:,} lines were rejected: {counts_text(counts.rejected)}"
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
    text = f"{count:,} of {lines:,} {name} were rejected, more than MAX_REJECT_SHARE ({max_share:g}): {counts_text(rejected)}"
    raise _refusal([*hints, text], count, lines, max_share)


def _refusal(reasons: Sequence[str], rejected: int, lines: int, max_share: float) -> RefusedError:
    return RefusedError("; ".join(reasons), {"lines": lines, "rejected": rejected}, max_share)


def _scale_hints(rejected: Counter[str], lines: int, rules: Rules) -> list[str]:
    """A hint if the ratings seem to have another scale than the settings."""
    above, below = rejected["rating_above_scale"], rejected["rating_below_scale"]
    if max(above, below) * 2 <= rejected.total():
        return []
    if above > below:
        wider = next((highest for highest in SCALES if highest > rules.rating_max), None)
        scale = f": is the scale {rules.rating_min:g} to {wider}?" if wider else ": what is the scale?"
        return [f"{above:,} of {lines:,} ratings lie above RATING_MAX ({rules.rating_max:g}){scale}"]
    return [f"{below:,} of {lines:,} ratings lie below RATING_MIN ({rules.rating_min:g}): does the scale begin lower?"]
