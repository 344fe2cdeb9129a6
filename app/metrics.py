"""Prometheus metrics in the multi-process mode: every worker writes its own files, and the master adds them up."""

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

from app.fresh.overlay import folder_in_use, read_status
from app.journal import file_size
from app.settings import host_and_port
from app.track import Track, WithTrack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flask import Flask
    from prometheus_client.core import Metric

    from app.settings import ServiceSettings

log = logging.getLogger(__name__)

# An answer takes 1 to 3 ms, and the client gives up at 600 ms. Each edge is at most 1.5 times the last.
SECONDS = (
    *(0.0005, 0.0007, 0.001, 0.0014, 0.002, 0.003, 0.0042, 0.006, 0.0085, 0.012, 0.017, 0.025, 0.035),
    *(0.05, 0.07, 0.1, 0.14, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.4, 2.0),
)  # fmt: skip
HEALTH_PATHS = ("^/healthz$", "^/readyz$")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

ANSWERS_SECONDS = 1.0
MIB = 1 << 20
LABELS = ("track", "version")

_rows_lost = Counter("journal_rows_lost", "Answers whose provenance row could not be journalled", LABELS, registry=REGISTRY)
_answers = Counter("answers", "Answers by how the list was chosen", (*LABELS, "step"), registry=REGISTRY)
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
    """The metrics of one service: its requests, lost rows, lost log lines, start time and ended workers."""

    def __init__(self, app: Flask, track: str, version: int) -> None:
        self.labels = labels = {"track": track, "version": str(version)}
        app.extensions["movierec_metrics"] = self
        app.before_request(_name_odd_method)
        _Exporter(app, group_by="url_rule", buckets=SECONDS, static_labels=labels, excluded_paths=list(HEALTH_PATHS))
        # An answer costs little only if it does not write to the metrics' file: the counts get there once a second.
        self._answers: dict[str, int] = {}
        self._write_answers_at = 0.0
        self.rows_lost = _rows_lost.labels(**labels)
        self.lines_lost = _lines_lost.labels(**labels)
        self._worker_exits = _worker_exits.labels(**labels)
        _start_time.labels(**labels).set(time.time())

    def count_answer(self, step: str) -> None:
        """Count an answer by how its list was chosen. The metric has it at the first answer a second later, or at the end."""
        if step not in self._answers:
            self._answers[step] = 0
            _answers.labels(**self.labels, step=step)  # the series is there from its first answer
        self._answers[step] += 1
        now = time.monotonic()
        if now >= self._write_answers_at:
            self._write_answers_at = now + ANSWERS_SECONDS
            self.write_answers()

    def write_answers(self) -> None:
        """Write the counts of answers to the metric."""
        for step, count in self._answers.items():
            _answers.labels(**self.labels, step=step).inc(count)
            self._answers[step] = 0

    def note_exit(self, pid: int) -> None:
        """Count a worker that has ended, and drop its gauges. Only the master calls this."""
        self._worker_exits.inc()
        GunicornPrometheusMetrics.mark_process_dead_on_child_exit(pid)


def metrics_of(app: Flask) -> Metrics:
    """The metrics of an application."""
    found: Metrics = app.extensions["movierec_metrics"]
    return found


def serve(app: Flask, settings: ServiceSettings) -> None:
    """Serve the metrics from this process, the master. Raises OSError if the port is taken."""
    labels = metrics_of(app).labels
    collectors: list[Collector] = [ProcessFiles(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), labels)]
    if settings.journal_dir is not None:
        collectors.append(JournalSize(settings.journal_dir / settings.service, settings.journal_max_mb * MIB, labels))
    if (overlay := folder_in_use(settings)) is not None:
        collectors.append(Freshness(overlay, labels))
    registry, track = CollectorRegistry(), Track(labels["track"], settings.track_file)
    for each in collectors:
        registry.register(WithTrack(each, track))
    host, port = host_and_port(settings.metrics_bind)
    start_http_server(port, host, registry)


class ProcessFiles(Collector):
    """Adds up the metric files of all processes in a folder, and leaves out the files that cannot be read.

    A worker that is killed while it starts, or a full disk, leaves an empty or damaged file. `collect` renames and counts
    such a file, so that no later worker with the same process number uses it.
    """

    def __init__(self, folder: Path, labels: Mapping[str, str]) -> None:
        self._folder = folder
        self._labels = labels
        self._suspects = set[Path]()
        self._lost = 0

    def collect(self) -> Iterator[Metric]:
        """Every metric of the processes, and the number of lost files."""
        files = sorted(self._folder.glob("*.db"))
        try:
            metrics = list(MultiProcessCollector.merge(map(str, files)))
            self._suspects.clear()
        except Exception:  # noqa: BLE001 - damaged bytes may raise any exception
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
            # The file of a running process is empty for a moment, until the process sets its size.
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
    """The size of a service's journals. A scrape reads the sizes from the disk, so requests do no extra work."""

    def __init__(self, folder: Path, max_bytes: int, labels: Mapping[str, str]) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._labels = labels

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The bytes that the journals hold, and the bytes that they may hold."""
        gauges = (
            ("journal_bytes", "Bytes that the service's journals hold", sum(map(file_size, self._folder.glob("*")))),
            ("journal_max_bytes", "Bytes that they may hold: beyond, rows are lost", self._max_bytes),
        )
        for name, text, value in gauges:
            family = GaugeMetricFamily(name, text, labels=tuple(self._labels))
            family.add_metric(tuple(self._labels.values()), value)
            yield family


class Freshness(Collector):
    """How fresh the service's answers are, by the status that `app.fresh` writes. A scrape reads it."""

    def __init__(self, overlay: Path, labels: Mapping[str, str]) -> None:
        self._overlay = overlay
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        """The time that the answers follow, the users with new events, and what is late or lost."""
        status = read_status(self._overlay)
        gauges = (
            ("fresh_as_of_seconds", "Answers follow what had come by then, in seconds since 1970; 0: not known", status.as_of),
            ("fresh_users", "Users with new events since the version's data", status.users),
            ("fresh_lists_due", "Users whose list does not follow their events yet", status.due),
        )
        counters = (
            ("fresh_lists", "Lists that were computed for users with new events", status.lists),
            ("fresh_lines_lost", "Lines of the stream that were gone before they were read", status.lost),
        )
        for name, text, value in gauges:
            yield self._family(GaugeMetricFamily(name, text, labels=tuple(self._labels)), value)
        for name, text, value in counters:
            yield self._family(CounterMetricFamily(name, text, labels=tuple(self._labels)), value)

    def _family(self, family: GaugeMetricFamily | CounterMetricFamily, value: float) -> Metric:
        family.add_metric(tuple(self._labels.values()), value)
        return family


class _Exporter(GunicornPrometheusMetrics):  # type: ignore[misc]
    """The exporter without its series `flask_exporter_info`, which has no track and a `version` of another meaning."""

    def info(self, *_: object, **__: object) -> None:
        """Do nothing, so that the series is left out."""


def _name_odd_method() -> None:
    """Count all invented methods as one: a client must not be able to add series."""
    if request.method not in METHODS:
        request.method = "OTHER"
