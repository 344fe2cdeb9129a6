"""The pipeline in one process: whom it alarms after a collection."""

from __future__ import annotations

import io
import signal
from typing import TYPE_CHECKING

from app.events import rules_of
from auto_deployment.common.memory import whole_gb
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.common.signals import Stop
from auto_deployment.ingestion.collector import FILE, Collector
from auto_deployment.ingestion.tables import Tables
from auto_deployment.pipeline.run import Pipeline, RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from auto_deployment.common.settings import Settings
    from auto_deployment.notify import Notice


class RecordingChannel:
    """A channel that keeps the subjects of its notices."""

    name = "recording"

    def __init__(self) -> None:
        self.subjects: list[str] = []

    def delivery(self, notice: Notice) -> Callable[[], None]:
        """Keep the subject."""
        return lambda: self.subjects.append(notice.subject)


def pipeline_of(settings: Settings, options: RunOptions, channel: RecordingChannel) -> Pipeline:
    """A run that prints nothing."""
    return Pipeline(settings, options, Progress(io.StringIO()), [channel], Stop(), lambda _: None)


def test_more_memory_than_there_is_gets_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit could not be kept. Without a setting, and up to the whole memory, there is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for given in ({}, {"memory_gb": whole_gb()}, {"memory_gb": 2 * whole_gb()}):
        assert caplog.messages == []
        pipeline_of(load_settings(**given), RunOptions(), RecordingChannel())._check_memory()
    (message,) = caplog.messages
    assert f"has only {whole_gb():.1f} GB: a large run may be killed. Lower MEMORY_GB" in message


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
    pipeline = pipeline_of(settings, options, channel)
    assert pipeline._collect_and_warn().state.counts.lines == 1
    assert channel.subjects == []
