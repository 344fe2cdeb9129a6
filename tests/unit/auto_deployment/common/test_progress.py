from __future__ import annotations

import itertools
import logging
from io import StringIO
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from app.events import Rules
from auto_deployment.common.memory import available_gb
from auto_deployment.common.progress import Progress, Task
from auto_deployment.ingestion import collect_with_progress
from auto_deployment.ingestion.collector import FILE, Collector
from auto_deployment.ingestion.sources import FileSource
from auto_deployment.ingestion.tables import Tables
from tests.bench.measure import stages

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """A time that goes on when it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.now


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


def test_lines_stand_under_their_heading() -> None:
    """A heading at the edge, what was found under it, both at once on the stream."""
    stream = StringIO()
    progress = Progress(stream)
    progress.heading("1/3 collect")
    progress.say("12 lines")
    assert stream.getvalue() == "1/3 collect\n  12 lines\n"


def test_a_log_gets_a_line_every_five_seconds() -> None:
    """Not more often, and with how much of how much is done."""
    stream, clock = StringIO(), Clock()
    with Progress(stream, clock).task("collect", 2_000, "bytes") as task:
        for seconds, by in ((4.9, 500), (0.1, 500), (4.0, 100), (1.0, 100)):
            clock.now += seconds
            task.advance(by)
    assert stream.getvalue() == "  collect: 1,000 of 2,000 bytes\n  collect: 1,200 of 2,000 bytes\n"


def test_a_stage_ends_with_its_time_and_its_peak_of_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Also where it fails; the log has the same line."""
    stream, clock = StringIO(), Clock()

    def fail_after(seconds: float) -> None:
        with Progress(stream, clock).stage("evaluate"):
            clock.now += seconds
            raise ZeroDivisionError

    with caplog.at_level(logging.INFO), pytest.raises(ZeroDivisionError):
        fail_after(75.25)
    (stage,) = stages(stream.getvalue()).items()
    assert stage[0] == "evaluate"
    assert stage[1].seconds == 75.2
    assert 0.01 < stage[1].peak_gb < available_gb()
    assert [record.getMessage() for record in caplog.records] == [stream.getvalue().strip()]


def test_short_work_shows_nothing_in_a_log() -> None:
    """Work of less than five seconds leaves no line."""
    stream, clock = StringIO(), Clock()
    with Progress(stream, clock).task("evaluate", 2, "trainings") as task:
        task.advance()
        clock.now += 4.9
        task.advance()
    assert stream.getvalue() == ""


def test_no_more_than_the_total_is_done() -> None:
    """A source that grew while it was read does not make more than all of it."""
    stream, clock = StringIO(), Clock()
    with Progress(stream, clock).task("collect", 10, "bytes") as task:
        clock.now += 9
        task.advance_to(99)
        clock.now += 9
        task.advance()
    assert stream.getvalue() == "  collect: 10 of 10 bytes\n" * 2


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    """With the work's name and its share; nothing of it is left behind, not even after an error."""
    stream = Terminal()

    def fail_half_way() -> None:
        with Progress(stream).task("evaluate", 4, "trainings") as task:
            task.advance(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    shown = stream.getvalue()
    assert "evaluate" in shown
    assert "75 %" in shown
    assert shown.rstrip().endswith("\x1b[2K")


def test_a_note_stands_next_to_the_progress() -> None:
    """From the next advance on, in a log and on a terminal."""
    for stream in (StringIO(), Terminal()):
        clock = Clock()
        with Progress(stream, clock).task("collect", 10, "bytes") as task:
            task.note("3 taken")
            clock.now += 5
            task.advance(1)
        assert "3 taken" in stream.getvalue()


def test_a_second_collection_tells_its_own_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of all lines since the last version, of which earlier collections have read some."""
    noted: list[str] = []
    monkeypatch.setattr(Task, "note", lambda _, text: noted.append(text))
    ticks = itertools.count()
    monkeypatch.setattr(collect_with_progress, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    path = tmp_path / "movie.log"
    for lines in (3000, 5):
        path.write_bytes(b"2024-10-14T15:22:01,70999,GET /rate/carcasses+2009=4\n" * lines)
        path = path.rename(tmp_path / f"{lines}.log")
        collector = Collector(Tables(tmp_path), tmp_path / FILE, Rules())
        collect_with_progress.collect_with_progress(collector, FileSource([path]), Progress(StringIO()), lambda: True)
    assert noted == [
        "3,000 lines/s, 3,000 taken, 0 repaired, none quarantined",
        "5 lines/s, 5 taken, 0 repaired, none quarantined",
    ]
    assert collector.state.counts.lines == 3005
