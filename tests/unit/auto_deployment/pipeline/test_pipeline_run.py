"""The pipeline in one process: whom it alarms after a collection."""

from __future__ import annotations

import io
import signal
from typing import TYPE_CHECKING

from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.common.signals import Stop
from auto_deployment.ingestion.collector import FILE, Collector
from auto_deployment.ingestion.events import rules_of
from auto_deployment.ingestion.tables import Tables
from auto_deployment.pipeline.run import Pipeline, RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from auto_deployment.notify import Notice


class RecordingChannel:
    """A channel that keeps the subjects of its notices."""

    name = "recording"

    def __init__(self) -> None:
        self.subjects: list[str] = []

    def delivery(self, notice: Notice) -> Callable[[], None]:
        """Keep the subject."""
        return lambda: self.subjects.append(notice.subject)


def test_a_run_with_input_files_repeats_no_old_lag_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier run notified people of the growing lag; a run with --input does not read the topic."""
    monkeypatch.chdir(tmp_path)
    settings, channel = load_settings(), RecordingChannel()
    settings.data_dir.mkdir()
    collector = Collector(Tables(settings.data_dir), settings.data_dir / FILE, rules_of(settings))
    for lag in (5, 9):
        collector.note_lag(lag)
    (tmp_path / "movie.log").write_text("2026-01-05T09:00:00,1,GET /rate/heat+1995=4\n")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    options = RunOptions(inputs=[tmp_path / "movie.log"], push=False, collect_only=True)
    pipeline = Pipeline(settings, options, Progress(io.StringIO()), [channel], Stop(), lambda _: None)
    assert pipeline._collect_and_warn().state.counts.lines == 1
    assert channel.subjects == []
