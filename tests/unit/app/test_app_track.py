"""The track of a service, which a rollout engine may change while the service runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from app.track import READ_SECONDS, Track, WithTrack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.core import Metric


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the module's clock, in its first place."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_setting_stays() -> None:
    """Without a file."""
    assert Track("canary")() == "canary"


def test_a_file_is_read_once_a_second(tmp_path: Path, clock: list[float]) -> None:
    """The next answer after that has its track."""
    file = tmp_path / "track"
    file.write_text("canary")
    current = Track("stable", file)
    assert current() == "canary"
    file.write_text("stable\n")
    assert current() == "canary"
    clock[0] += READ_SECONDS
    assert current() == "stable"


def test_a_missing_file_is_reported_once_until_it_is_back(
    tmp_path: Path, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """Not every second."""
    file = tmp_path / "track"
    current = Track("stable", file)
    for exists in (False, False, True, False):
        if exists:
            file.write_text("stable")
        else:
            file.unlink(missing_ok=True)
        clock[0] += READ_SECONDS
        current()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


@pytest.mark.parametrize("content", [None, b"", b"beta", b"\xff"])
def test_a_file_without_a_track_leaves_the_track(tmp_path: Path, clock: list[float], content: bytes | None) -> None:
    """A label that is away for a moment is no other track."""
    file = tmp_path / "track"
    file.write_text("canary")
    current = Track("stable", file)
    assert current() == "canary"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    clock[0] += READ_SECONDS
    assert current() == "canary"


class Answers(Collector):
    """A counter of a process that began as canary."""

    def collect(self) -> Iterator[Metric]:
        """Its one series."""
        family = CounterMetricFamily("answers", "Answers", labels=("track", "version"))
        family.add_metric(("canary", "7"), 5)
        yield family


def test_a_series_continues_under_the_next_track(tmp_path: Path, clock: list[float]) -> None:
    """With its value; there is no series of the track before."""
    file = tmp_path / "track"
    file.write_text("canary")
    answers = WithTrack(Answers(), Track("canary", file))

    def scraped() -> list[tuple[dict[str, str], float]]:
        return [(sample.labels, sample.value) for metric in answers.collect() for sample in metric.samples]

    assert scraped() == [({"track": "canary", "version": "7"}, 5)]
    file.write_text("stable")
    clock[0] += READ_SECONDS
    assert scraped() == [({"track": "stable", "version": "7"}, 5)]
