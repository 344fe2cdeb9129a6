"""Collection with progress for the terminal: how much is done, how fast, and the counts of lines."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

from app.events import rules_of
from auto_deployment.ingestion.collector import FILE, Collector, check_trainable
from auto_deployment.ingestion.rows import counts_text
from auto_deployment.ingestion.sources import FileSource
from auto_deployment.ingestion.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from auto_deployment.common.progress import Progress
    from auto_deployment.common.settings import DataSettings
    from auto_deployment.ingestion.rows import Counts
    from auto_deployment.ingestion.sources import StreamSource


def summary_lines(counts: Counts) -> list[str]:
    """The counts of a collection as lines of text."""
    lines = [f"{counts.lines:,} lines: {counts_text(counts.kinds) or 'nothing taken'}"]
    if counts.repaired:
        lines.append(f"{counts.repaired:,} of them repaired, the originals kept")
    if counts.rejected:
        lines.append(f"{counts.rejected.total():,} quarantined: {counts_text(counts.rejected)}")
    return lines


def progress_text(counts: Counts) -> str:
    """The counts so far, for the line of progress."""
    return f"{counts.kinds.total():,} taken, {counts.repaired:,} repaired, {counts_text(counts.rejected) or 'none'} quarantined"


def collect_files(paths: Sequence[Path], settings: DataSettings, progress: Progress) -> Counts:
    """Collect files into the tables of a data folder. Raises RefusedError if too many lines are rejected."""
    collector = Collector(Tables(settings.data_dir), settings.data_dir / FILE, rules_of(settings))
    source = FileSource(paths)
    collect_with_progress(collector, source, progress, lambda: True)
    for line in summary_lines(collector.state.counts):
        progress.say(line)
    collector.judge(settings.max_reject_share, source.hints())
    check_trainable(collector.state.counts)
    return collector.state.counts


def collect_with_progress(
    collector: Collector, source: StreamSource, progress: Progress, may_continue: Callable[[], bool]
) -> None:
    """Collect a source, and show the progress."""
    before, begun = copy.deepcopy(collector.state.counts), time.monotonic()
    total = source.remaining(source.plan(collector.state.marks), collector.state.marks)
    with progress.task("collect", total, source.unit) as task:
        for remaining in collector.collect(source, may_continue):
            counts = collector.state.counts.since(before)
            rate = counts.lines / max(time.monotonic() - begun, 1e-3)
            task.note(f"{rate:,.0f} lines/s, {progress_text(counts)}")
            task.advance_to(total - remaining)
