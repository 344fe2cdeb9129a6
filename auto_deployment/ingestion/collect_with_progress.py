"""Collecting that a person can watch: how much is done, how fast, and what became of it."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

from auto_deployment.ingestion.collector import RECORD, Collector, check_trainable
from auto_deployment.ingestion.events import rules_of
from auto_deployment.ingestion.sources import FileSource
from auto_deployment.ingestion.tables import Tables
from auto_deployment.reports import console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from auto_deployment.common.progress import Progress
    from auto_deployment.common.settings import Settings
    from auto_deployment.ingestion.rows import Counts
    from auto_deployment.ingestion.sources import Source


def collect_files(paths: Sequence[Path], settings: Settings, progress: Progress) -> Counts:
    """Append files of stream lines to the tables of a data folder. Raises RefusedError where too many lines are no events."""
    collector = Collector(Tables(settings.data_dir), settings.data_dir / RECORD, rules_of(settings))
    source = FileSource(paths)
    collect_showing(collector, source, progress, lambda: True)
    for line in console.collected(collector.record.counts):
        progress.say(line)
    collector.judge(settings.max_reject_share, source.hints())
    check_trainable(collector.record.counts)
    return collector.record.counts


def collect_showing(collector: Collector, source: Source, progress: Progress, go_on: Callable[[], bool]) -> None:
    """Collect, showing how much of it is done, how fast, and what became of it."""
    before, begun = copy.deepcopy(collector.record.counts), time.monotonic()
    total = source.left(source.plan(collector.record.marks), collector.record.marks)
    with progress.task("collect", total, source.unit) as task:
        for left in collector.collect(source, go_on):
            counts = collector.record.counts.since(before)
            rate = counts.lines / max(time.monotonic() - begun, 1e-3)
            task.note(f"{rate:,.0f} lines/s, {console.short(counts)}")
            task.advance_to(total - left)
