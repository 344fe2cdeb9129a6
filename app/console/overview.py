"""How the service is now, by Prometheus: what runs, what clients get, the pipeline, disks and journals."""

from __future__ import annotations

from collections import Counter
from math import isnan
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from app.console.prometheus import Prometheus, Series
    from app.provenance.archive import Given


class RunningService(NamedTuple):
    """A service: whether it is scraped, and the version and track that it reports. `since` in seconds since 1970."""

    name: str
    up: bool
    version: str | None
    track: str | None
    since: float | None
    tries: float | None
    failed: float | None
    p99: float | None


class Served(NamedTuple):
    """What a version gave on a track, of one kind: its share of the answers, and the time of the newest."""

    version: int
    track: str
    kind: str
    answers: int
    share: float
    newest: datetime


class Figure(NamedTuple):
    """A value with its name; `kind` says how to print it. `value` is None where Prometheus has no such series."""

    name: str
    value: float | None
    kind: str
    note: str = ""


# Name, query, kind and note of each figure.
CLIENTS = (
    ("answers", "nginx_answers:rate5m", "rate", "mean of 5 minutes"),
    ("failed answers", "1 - nginx_answers_success:ratio_rate5m", "share", "5xx, or the client left"),
    ("median time", "nginx_answer_seconds:p50_5m", "seconds", ""),
    ("99 of 100 answers within", "nginx_answer_seconds:p99_5m", "seconds", "clients give up at 600 ms"),
)
PIPELINE = (
    ("last version", "max(pipeline_version)", "number", ""),
    ("trained", "max(pipeline_version_time_seconds)", "time", ""),
    ("last retraining ended", 'max(pipeline_last_run_time_seconds{kind="retrain"})', "time", ""),
    ("its exit status", 'max(pipeline_last_run_status{kind="retrain"})', "status", ""),
    ("next retraining", 'max(pipeline_next_run_time_seconds{kind="retrain"})', "time", "the scheduler starts it"),
    ("unread lines of the stream", "max(pipeline_kafka_lag)", "number", "after the last collection"),
    ("answers follow events until", "min(fresh_as_of_seconds > 0)", "time", "only with FRESH=true"),
)
STORES = (
    ("free disk", 'min(node_filesystem_avail_bytes{mountpoint="/"})', "bytes", ""),
    ("journals of the services", "max(journal_bytes / journal_max_bytes)", "share", "of their bound, the fullest"),
    ("rows that wait for the database", "sum(shipper_waiting_bytes)", "bytes", ""),
    ("the database takes rows", "min(shipper_database_up)", "yes", ""),
)


def figures(prometheus: Prometheus, wanted: tuple[tuple[str, str, str, str], ...]) -> list[Figure]:
    """The figures of a group. Raises ProblemError."""
    return [Figure(name, _value(prometheus.now(query)), kind, note) for name, query, kind, note in wanted]


def running_services(prometheus: Prometheus) -> list[RunningService]:
    """The services of the stack, by name. Raises ProblemError."""
    up = _by_service(prometheus.now('up{job="service"}'))
    started = _by_service(prometheus.now("service_start_time_seconds"))
    tries, failed, p99 = (
        _by_service(prometheus.now(query))
        for query in ("service:nginx_tries:rate5m", "service:nginx_try_errors:ratio_rate5m", "service:nginx_try_seconds:p99_5m")
    )
    found = []
    for name, series in sorted(up.items()):
        is_up, start = series.last == 1, started.get(name)
        shown = start if is_up else None
        found.append(
            RunningService(
                name=name,
                up=is_up,
                version=None if shown is None else shown.labels.get("version"),
                track=None if shown is None else shown.labels.get("track"),
                since=None if shown is None else shown.last,
                tries=_of(tries.get(name)),
                failed=_of(failed.get(name)),
                p99=_of(p99.get(name)),
            )
        )
    return found


def kinds(prometheus: Prometheus) -> list[tuple[str, float]]:
    """The share of the answers of five minutes by how the list was chosen, largest first. Raises ProblemError."""
    found = {each.labels.get("step", ""): each.last for each in prometheus.now("sum by (step) (rate(answers_total[5m]))")}
    total = sum(found.values())
    return sorted(((step, value / total) for step, value in found.items()), key=lambda each: -each[1]) if total else []


def served(answers: Sequence[Given]) -> list[Served]:
    """Which version served how many of the answers, largest share first. The answers come newest first."""
    newest = {each[:3]: each.served_at for each in reversed(answers)}
    counted = Counter(each[:3] for each in answers).most_common()
    return [Served(*key, count, count / len(answers), newest[key]) for key, count in counted]


def _by_service(found: list[Series]) -> dict[str, Series]:
    """By service; of two series of one service, as a moment after a restart, the newer start."""
    return {each.labels.get("service", ""): each for each in sorted(found, key=lambda each: each.last)}


def _value(found: list[Series]) -> float | None:
    return _of(found[0] if found else None)


def _of(series: Series | None) -> float | None:
    return None if series is None or isnan(series.last) else series.last
