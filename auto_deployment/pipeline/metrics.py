"""The pipeline's metrics for Prometheus: a file for node-exporter's textfile collector, replaced at the end of each run.

A second file has the time of the last check of a canary. It shows that a release process is alive.
"""

from __future__ import annotations

import logging
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import StateError, read_json, write_synced
from auto_deployment.ingestion import collector
from auto_deployment.versioning.repository import current_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from auto_deployment.common.settings import Settings
    from auto_deployment.ingestion.rows import Counts

log = logging.getLogger(__name__)

FOLDER, FILE, CHECK_FILE, SCHEDULE_FILE = "metrics", "pipeline.prom", "release_look.prom", "schedule.prom"
LAST_CHECK = "release_last_look_time_seconds"
DAY, HOUR = 86400, 3600
HELP = {
    "pipeline_last_run_time_seconds": "When the last run of this kind ended, in seconds since 1970",
    "pipeline_last_run_status": "The exit status of that run: 0 done, 1 failed, 2 wrong use, 3 refused, 130 and 143 stopped",
    "pipeline_last_success_time_seconds": "When a run of this kind last ended with 0",
    "pipeline_version": "The last version's number; 0 before the first",
    "pipeline_version_time_seconds": "When that version was trained; before the first version, when a run first reported 0",
    "pipeline_kafka_lag": "Lines of the stream that the last collection left unread",
    "pipeline_kafka_lag_before": "Lines that the collection before the last one left unread",
    "pipeline_collected_lines": "Lines of the last collection",
    "pipeline_rejected_lines": "Lines of the last collection that were rejected, by reason",
    "pipeline_collection_refused": "1 when too many lines of the last collection were rejected, else 0",
    "pipeline_retrain_interval_seconds": "RETRAIN_DAYS: from the start of one full run to the next",
    "pipeline_collect_interval_seconds": "COLLECT_EVERY_HOURS: from one collection to the next",
}
NEXT_RUN = "pipeline_next_run_time_seconds"
_SERIES = re.compile(r"(([a-z_]+)(?:\{(?:kind|reason)=\"[a-z_]+\"\})?) (-?[0-9.]+(?:e[+-]?[0-9]+)?)")

Series = dict[str, float]


class DataState(NamedTuple):
    """The data folder: the version, when it was trained (None: unknown), unread lines after the last collections, newest last.

    `last` are the counts of the last collection; None before the first. `refused`: the last collection had too many rejects.
    """

    version: int
    trained_on: float | None
    lags: Sequence[int]
    last: Counts | None = None
    refused: bool = False


def after_run(before: Mapping[str, float], kind: str, status: int, state: DataState, now: float) -> Series:
    """The values by series after a run of `kind` (retrain, collect). Times are in seconds since 1970. Pure.

    A time in the future, from before the clock was set back, becomes `now`. An alert on its age would stay silent until then.
    """
    values = {name: min(value, now) if "_time_seconds" in name else value for name, value in before.items()}
    values[f'pipeline_last_run_time_seconds{{kind="{kind}"}}'] = now
    values[f'pipeline_last_run_status{{kind="{kind}"}}'] = status
    if status == 0:
        values[f'pipeline_last_success_time_seconds{{kind="{kind}"}}'] = now
    same = before.get("pipeline_version") == state.version
    since = before.get("pipeline_version_time_seconds", now) if same else now
    values["pipeline_version_time_seconds"] = min(since if state.trained_on is None else state.trained_on, now)
    values["pipeline_version"] = state.version
    if state.lags:
        values["pipeline_kafka_lag"] = state.lags[-1]
        values["pipeline_kafka_lag_before"] = state.lags[-2] if len(state.lags) > 1 else state.lags[-1]
    if state.last is not None:
        values = {name: value for name, value in values.items() if not name.startswith("pipeline_rejected_lines")}
        values |= {f'pipeline_rejected_lines{{reason="{name}"}}': each for name, each in state.last.rejected.items()}
        values |= {"pipeline_collected_lines": state.last.lines, "pipeline_collection_refused": int(state.refused)}
    return values


def to_text(values: Mapping[str, float]) -> str:
    """The values by series in Prometheus's text format."""
    lines = []
    for name, description in HELP.items():
        series = [(key, value) for key, value in sorted(values.items()) if key.partition("{")[0] == name]
        if series:
            lines += [f"# HELP {name} {description}", f"# TYPE {name} gauge", *(f"{key} {value!r}" for key, value in series)]
    return "\n".join([*lines, ""])


def from_text(text: str) -> Series:
    """The values by series from a text of `to_text`. Other lines are left out."""
    matches = (_SERIES.fullmatch(line) for line in text.splitlines())
    return {match[1]: float(match[3]) for match in matches if match and match[2] in HELP}


def write_run_metrics(settings: Settings, kind: str, status: int) -> None:
    """Replace the file in `LOG_DIR/metrics` after a run. An error is logged, and never fails the run."""
    path = settings.log_dir / FOLDER / FILE
    try:
        before = from_text(path.read_text(encoding="ascii", errors="replace")) if path.exists() else {}
        values = after_run(before, kind, status, _data_state(settings.data_dir), time.time())
        values["pipeline_retrain_interval_seconds"] = settings.retrain_days * DAY
        values["pipeline_collect_interval_seconds"] = settings.collect_every_hours * HOUR
        replace_metrics(path, to_text(values))
    except (OSError, RunError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be written (%s): Prometheus does not get the metrics of this run", path, error)


def write_check_time(log_dir: Path, now: float) -> None:
    """Record the time of a check of a canary. An error is logged, and never fails the release."""
    path = log_dir / FOLDER / CHECK_FILE
    description = f"# HELP {LAST_CHECK} When a canary was last checked, in seconds since 1970\n# TYPE {LAST_CHECK} gauge\n"
    try:
        replace_metrics(path, f"{description}{LAST_CHECK} {now!r}\n")
    except (OSError, RunError) as error:
        log.warning("%s cannot be written (%s): Prometheus does not get the time of this check", path, error)


def write_next_runs(log_dir: Path, due: Mapping[str, float]) -> None:
    """Record when the scheduler starts each kind of run next. An error is logged, and never fails the scheduler."""
    path = log_dir / FOLDER / SCHEDULE_FILE
    lines = [f"# HELP {NEXT_RUN} When the scheduler starts the next run, in seconds since 1970", f"# TYPE {NEXT_RUN} gauge"]
    lines += [f'{NEXT_RUN}{{kind="{kind}"}} {moment!r}' for kind, moment in sorted(due.items())]
    try:
        replace_metrics(path, "\n".join([*lines, ""]))
    except OSError as error:
        log.warning("%s cannot be written (%s): Prometheus does not get the times of the next runs", path, error)


def replace_metrics(path: Path, text: str) -> None:
    """Replace a metrics file that every user may read, in a folder that every user may enter, whatever our umask is.

    Its reader is node-exporter, a user of its own in a container, which mounts the folder. Raises OSError.
    """
    write_synced(path, text.encode(), public=True)


def _data_state(data: Path) -> DataState:
    version = current_version(data)
    report = read_json(data / "versioning" / f"report_{version}.json") or {}
    trained_on = datetime.fromisoformat(report["trained_on"]).timestamp() if "trained_on" in report else None
    try:
        collected = collector.CollectionState.load(data / collector.FILE)
    except StateError as error:  # the run that failed for this file is still a metric
        log.warning("%s", error)
        collected = None
    if collected is None:
        return DataState(version=version, trained_on=trained_on, lags=())
    # Software 1.0 kept no counts of a single collection.
    last = collected.last if "last" in collected.model_fields_set else None
    return DataState(version=version, trained_on=trained_on, lags=collected.lags, last=last, refused=collected.refused)
