"""The track of a service: its setting, or a file that a rollout engine changes while the service runs."""

from __future__ import annotations

import logging
import time
from math import inf
from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.core import Metric

log = logging.getLogger(__name__)

TRACKS = ("stable", "canary")
# A promotion reaches every process within this time.
READ_SECONDS = 1.0


class Track:
    """The track of now. A file is read again at most once a second.

    A file that is missing or names no track leaves the track as it was.
    """

    def __init__(self, setting: str, file: Path | None = None) -> None:
        self._track = setting
        self._file = file
        self._read_at = -inf if file is not None else inf
        self._problem = ""

    def __call__(self) -> str:
        """`stable` or `canary`."""
        if (now := time.monotonic()) >= self._read_at and self._file is not None:
            self._read_at = now + READ_SECONDS
            self._read(self._file)
        return self._track

    def _read(self, file: Path) -> None:
        try:
            found = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            if str(error) != self._problem:
                log.warning("TRACK_FILE: %s: %s: the track stays %s", file, error, self._track)
            self._problem = str(error)
            return
        self._problem = ""
        if found in TRACKS and found != self._track:
            log.info("the track is %s now, after %s", found, self._track)
            self._track = found


class WithTrack(Collector):
    """The series of another collector, with the track of now.

    A process writes its counters under the track that it began with. They continue under the next one.
    """

    def __init__(self, collector: Collector, track: Track) -> None:
        self._collector = collector
        self._track = track

    def collect(self) -> Iterator[Metric]:
        """Every metric of the other collector."""
        track = self._track()
        for metric in self._collector.collect():
            metric.samples = [sample._replace(labels={**sample.labels, "track": track}) for sample in metric.samples]
            yield metric
