"""The pipeline in one process: whom it alarms after a collection."""

from __future__ import annotations

import argparse
import io
import signal
from typing import TYPE_CHECKING

from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.common.signals import Stop
from auto_deployment.ingestion.collector import RECORD, Collector
from auto_deployment.ingestion.events import rules_of
from auto_deployment.ingestion.tables import Tables
from auto_deployment.pipeline.run import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from auto_deployment.notify import Notice


class Told:
    """A channel that remembers."""

    name = "told"

    def __init__(self) -> None:
        self.subjects: list[str] = []

    def delivery(self, notice: Notice) -> Callable[[], None]:
        """Remembers it."""
        return lambda: self.subjects.append(notice.subject)


def test_files_that_are_read_tell_no_old_alarm_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic's lag grew at an earlier run, which told it; one with --input has not looked at the topic."""
    monkeypatch.chdir(tmp_path)
    settings, told = load_settings(), Told()
    settings.data_dir.mkdir()
    collector = Collector(Tables(settings.data_dir), settings.data_dir / RECORD, rules_of(settings))
    for lag in (5, 9):
        collector.note_lag(lag)
    (tmp_path / "movie.log").write_text("2026-01-05T09:00:00,1,GET /rate/heat+1995=4\n")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    options = argparse.Namespace(input=[tmp_path / "movie.log"], collect_only=True, no_push=True)
    pipeline = Pipeline(settings, options, Progress(io.StringIO()), [told], Stop(), lambda _: None)
    assert pipeline._collect_and_warn().record.counts.lines == 1
    assert told.subjects == []
