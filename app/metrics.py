"""Prometheus metrics, in the multi-process mode: every worker writes files of its own, the master adds them up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import request
from prometheus_client import REGISTRY, Counter
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

if TYPE_CHECKING:
    from flask import Flask

# Answers take 1 to 3 ms, the client gives up at 600: fine at both ends, each edge at most 1.5 times the last.
SECONDS = (
    *(0.0005, 0.0007, 0.001, 0.0014, 0.002, 0.003, 0.0042, 0.006, 0.0085, 0.012, 0.017, 0.025, 0.035),
    *(0.05, 0.07, 0.1, 0.14, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.4, 2.0),
)  # fmt: skip
HEALTH_PATHS = ("^/healthz$", "^/readyz$")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_rows_lost = Counter(
    "journal_rows_lost", "Answers whose provenance row could not be journalled", ("track", "version"), registry=REGISTRY
)


class Metrics:
    """The metrics of one service: those of every request, and the rows that its journal lost."""

    def __init__(self, app: Flask, track: str, version: int) -> None:
        labels = {"track": track, "version": str(version)}
        app.before_request(_name_odd_method)
        _Exporter(app, group_by="url_rule", buckets=SECONDS, static_labels=labels, excluded_paths=list(HEALTH_PATHS))
        self.rows_lost = _rows_lost.labels(**labels)


class _Exporter(GunicornPrometheusMetrics):  # type: ignore[misc]
    """The exporter without the series about itself, whose `version` is its own and which has no track."""

    def info(self, *_: object, **__: object) -> None:
        """Leave `flask_exporter_info` out."""


def _name_odd_method() -> None:
    """Count invented methods as one: a client must not be able to add series."""
    if request.method not in METHODS:
        request.method = "OTHER"
