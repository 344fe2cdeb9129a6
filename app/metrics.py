"""Prometheus metrics, in the multi-process mode: every worker writes files of its own, the master adds them up."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flask import request
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

from app.settings import host_and_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flask import Flask
    from prometheus_client.core import Metric

    from app.settings import ServiceSettings

log = logging.getLogger(__name__)

# Answers take 1 to 3 ms, the client gives up at 600: fine at both ends, each edge at most 1.5 times the last.
SECONDS = (
    *(0.0005, 0.0007, 0.001, 0.0014, 0.002, 0.003, 0.0042, 0.006, 0.0085, 0.012, 0.017, 0.025, 0.035),
    *(0.05, 0.07, 0.1, 0.14, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.4, 2.0),
)  # fmt: skip
HEALTH_PATHS = ("^/healthz$", "^/readyz$")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

MIB = 1 << 20
LABELS = ("track", "version")

_rows_lost = Counter("journal_rows_lost", "Answers whose provenance row could not be journalled", LABELS, registry=REGISTRY)
_lines_lost = Counter("request_log_lines_lost", "Requests whose line could not be logged", LABELS, registry=REGISTRY)
_worker_exits = Counter("service_worker_exits", "Workers that ended, and were replaced", LABELS, registry=REGISTRY)
# The master alone sets it. In the file of a worker it begins at 0, so that of all processes the largest value is right.
_start_time = Gauge(
    "service_start_time_seconds",
    "When the service started, in seconds since 1970",
    LABELS,
    registry=REGISTRY,
    multiprocess_mode="max",
)


class Metrics:
    """The metrics of one service: those of every request, the rows and lines that it lost, its start and its workers' ends."""

    def __init__(self, app: Flask, track: str, version: int) -> None:
        self.labels = labels = {"track": track, "version": str(version)}
        app.extensions["movierec_metrics"] = self
        app.before_request(_name_odd_method)
        _Exporter(app, group_by="url_rule", buckets=SECONDS, static_labels=labels, excluded_paths=list(HEALTH_PATHS))
        self.rows_lost = _rows_lost.labels(**labels)
        self.lines_lost = _lines_lost.labels(**labels)
        self._worker_exits = _worker_exits.labels(**labels)
        _start_time.labels(**labels).set(time.time())

    def note_exit(self, pid: int) -> None:
        """A worker is gone: count it, and let go of its gauges. For the master alone."""
        self._worker_exits.inc()
        GunicornPrometheusMetrics.mark_process_dead_on_child_exit(pid)


def metrics_of(app: Flask) -> Metrics:
    """The metrics that an application was made with."""
    found: Metrics = app.extensions["movierec_metrics"]
    return found


def serve(app: Flask, settings: ServiceSettings) -> None:
    """Open the port of the metrics in this process, the master. Raises OSError if the port is not free."""
    labels = metrics_of(app).labels
    registry = CollectorRegistry()
    registry.register(ProcessFiles(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), labels))
    if settings.journal_dir is not None:
        registry.register(JournalSize(settings.journal_dir / settings.service, settings.journal_max_mb * MIB, labels))
    host, port = host_and_port(settings.metrics_bind)
    start_http_server(port, host, registry)


class ProcessFiles(Collector):
    """The sum of all processes' files in a folder, without those that cannot be read.

    A worker that is killed while it starts, or a disk that is full, leaves a file that is empty or torn. Such a file is
    renamed, so that no later worker with the same number meets it, and counted.
    """

    def __init__(self, folder: Path, labels: Mapping[str, str]) -> None:
        self._folder = folder
        self._labels = labels
        self._suspects = set[Path]()
        self._lost = 0

    def collect(self) -> Iterator[Metric]:
        """Every metric of the processes, and how many files were lost."""
        files = sorted(self._folder.glob("*.db"))
        try:
            metrics = list(MultiProcessCollector.merge(map(str, files)))
            self._suspects.clear()
        except Exception:  # noqa: BLE001 - damaged bytes fail in any way: the file is found, set aside and counted
            metrics = list(MultiProcessCollector.merge([str(file) for file in files if self._is_readable(file)]))
        yield from metrics
        text = "Files with counts of a process that could not be read: what they held is lost"
        lost = CounterMetricFamily("metrics_files_lost", text, labels=tuple(self._labels))
        lost.add_metric(tuple(self._labels.values()), self._lost)
        yield lost

    def _is_readable(self, file: Path) -> bool:
        try:
            list(MultiProcessCollector.merge([str(file)]))
        except Exception as error:  # noqa: BLE001 - see above
            # The file of a running process may be empty for an instant, until the process has given it its size.
            if file in self._suspects or not Path("/proc", file.stem.rpartition("_")[2]).exists():
                self._set_aside(file, error)
            self._suspects.add(file)
            return False
        return True

    def _set_aside(self, file: Path, error: Exception) -> None:
        with suppress(OSError):
            file.rename(file.with_suffix(f".lost-{self._lost + 1}"))
            self._lost += 1
            log.warning("%s cannot be read (%s: %s): its counts are lost", file, type(error).__name__, error)


class JournalSize(Collector):
    """The size of a service's journals. A scrape reads it from the disk, so no request pays for it."""

    def __init__(self, folder: Path, most: int, labels: Mapping[str, str]) -> None:
        self._folder = folder
        self._most = most
        self._labels = labels

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The bytes that there are, and how many there may be."""
        told = (
            ("journal_bytes", "Bytes that the service's journals hold", sum(map(_size, self._folder.glob("*")))),
            ("journal_max_bytes", "Bytes that they may hold: beyond, rows are lost", self._most),
        )
        for name, text, value in told:
            family = GaugeMetricFamily(name, text, labels=tuple(self._labels))
            family.add_metric(tuple(self._labels.values()), value)
            yield family


def _size(path: Path) -> int:
    """A file's size; 0 when the shipper has just removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Exporter(GunicornPrometheusMetrics):  # type: ignore[misc]
    """The exporter without the series about itself, whose `version` is its own and which has no track."""

    def info(self, *_: object, **__: object) -> None:
        """Leave `flask_exporter_info` out."""


def _name_odd_method() -> None:
    """Count invented methods as one: a client must not be able to add series."""
    if request.method not in METHODS:
        request.method = "OTHER"
