"""Collecting that a person can watch: how much is done, how fast, and what became of it."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

from auto_deployment.ingestion.collector import FILE, Collector, check_trainable
from auto_deployment.ingestion.events import rules_of
from auto_deployment.ingestion.rows import worded
from auto_deployment.ingestion.sources import FileSource
from auto_deployment.ingestion.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from auto_deployment.common.progress import Progress
    from auto_deployment.common.settings import Settings
    from auto_deployment.ingestion.rows import Counts
    from auto_deployment.ingestion.sources import Source


def collected(counts: Counts) -> list[str]:
    """What became of the lines."""
    lines = [f"{counts.lines:,} lines: {worded(counts.kinds) or 'nothing taken'}"]
    if counts.repaired:
        lines.append(f"{counts.repaired:,} of them repaired, the originals kept")
    if counts.rejected:
        lines.append(f"{counts.rejected.total():,} quarantined: {worded(counts.rejected)}")
    return lines


def short(counts: Counts) -> str:
    """What became of the lines, for a line of progress."""
    return f"{counts.kinds.total():,} taken, {counts.repaired:,} repaired, {worded(counts.rejected) or 'none'} quarantined"


def collect_files(paths: Sequence[Path], settings: Settings, progress: Progress) -> Counts:
    """Append files of stream lines to the tables of a data folder. Raises RefusedError where too many lines are no events."""
    collector = Collector(Tables(settings.data_dir), settings.data_dir / FILE, rules_of(settings))
    source = FileSource(paths)
    collect_showing(collector, source, progress, lambda: True)
    for line in collected(collector.state.counts):
        progress.say(line)
    collector.judge(settings.max_reject_share, source.hints())
    check_trainable(collector.state.counts)
    return collector.state.counts


def collect_showing(collector: Collector, source: Source, progress: Progress, go_on: Callable[[], bool]) -> None:
    """Collect, showing how much of it is done, how fast, and what became of it."""
    before, begun = copy.deepcopy(collector.state.counts), time.monotonic()
    total = source.left(source.plan(collector.state.marks), collector.state.marks)
    with progress.task("collect", total, source.unit) as task:
        for left in collector.collect(source, go_on):
            counts = collector.state.counts.since(before)
            rate = counts.lines / max(time.monotonic() - begun, 1e-3)
            task.note(f"{rate:,.0f} lines/s, {short(counts)}")
            task.advance_to(total - left)
