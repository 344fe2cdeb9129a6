"""The pipeline's metrics for Prometheus: a file for node-exporter's textfile collector, replaced at the end of each run.

Another one, replaced at each look at a canary, says that somebody looks.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import read_json, replacing
from auto_deployment.ingestion import collector
from auto_deployment.versioning.repository import current_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from auto_deployment.common.settings import Settings
    from auto_deployment.ingestion.rows import Counts

log = logging.getLogger(__name__)

FOLDER, FILE, LOOK_FILE = "metrics", "pipeline.prom", "release_look.prom"
LOOK = "release_last_look_time_seconds"
DAY, HOUR = 86400, 3600
READABLE = 0o555
HELP = {
    "pipeline_last_run_time_seconds": "When the last run of this kind ended, in seconds since 1970",
    "pipeline_last_run_status": "Its exit status: 0 done, 1 failed, 2 wrong use, 3 refused, 130 and 143 stopped",
    "pipeline_last_success_time_seconds": "When a run of this kind last ended with 0",
    "pipeline_version": "The last version's number; 0 before the first",
    "pipeline_version_time_seconds": "When it was trained; before the first, when a run first reported that",
    "pipeline_kafka_lag": "Lines of the stream that the last collection left unread",
    "pipeline_kafka_lag_before": "Those that the one before it left",
    "pipeline_collected_lines": "Lines of the last collection",
    "pipeline_rejected_lines": "Lines of the last collection that were rejected, by reason",
    "pipeline_collection_refused": "1 when too many lines of the last collection were rejected, else 0",
    "pipeline_retrain_interval_seconds": "RETRAIN_DAYS: from the start of one full run to the next",
    "pipeline_collect_interval_seconds": "COLLECT_EVERY_HOURS: from one collection to the next",
}
_SERIES = re.compile(r"(([a-z_]+)(?:\{(?:kind|reason)=\"[a-z_]+\"\})?) (-?[0-9.]+(?:e[+-]?[0-9]+)?)")

Figures = dict[str, float]


class Known(NamedTuple):
    """What the data folder says: version, when it was trained (None: not known), lines that collections left, newest last.

    `last` are the counts of the last collection, None when there was none; `refused` says whether it had too many rejects.
    """

    version: int
    trained_on: float | None
    lags: Sequence[int]
    last: Counts | None = None
    refused: bool = False


def after_run(before: Mapping[str, float], kind: str, status: int, known: Known, now: float) -> Figures:
    """The figures after a run of `kind` (retrain, collect), given those before it. Times in seconds since 1970. Pure.

    Times in the future, of before the clock was set back, count as now: an alert on their age would be silent until then.
    """
    figures = {name: min(value, now) if "_time_seconds" in name else value for name, value in before.items()}
    figures[f'pipeline_last_run_time_seconds{{kind="{kind}"}}'] = now
    figures[f'pipeline_last_run_status{{kind="{kind}"}}'] = status
    if status == 0:
        figures[f'pipeline_last_success_time_seconds{{kind="{kind}"}}'] = now
    same = before.get("pipeline_version") == known.version
    since = before.get("pipeline_version_time_seconds", now) if same else now
    figures["pipeline_version_time_seconds"] = min(since if known.trained_on is None else known.trained_on, now)
    figures["pipeline_version"] = known.version
    if known.lags:
        figures["pipeline_kafka_lag"] = known.lags[-1]
        figures["pipeline_kafka_lag_before"] = known.lags[-2] if len(known.lags) > 1 else known.lags[-1]
    if known.last is not None:
        figures = {name: value for name, value in figures.items() if not name.startswith("pipeline_rejected_lines")}
        figures |= {f'pipeline_rejected_lines{{reason="{name}"}}': each for name, each in known.last.rejected.items()}
        figures |= {"pipeline_collected_lines": known.last.lines, "pipeline_collection_refused": int(known.refused)}
    return figures


def to_text(figures: Mapping[str, float]) -> str:
    """The figures in Prometheus's text format."""
    lines = []
    for name, told in HELP.items():
        series = [(key, value) for key, value in sorted(figures.items()) if key.partition("{")[0] == name]
        if series:
            lines += [f"# HELP {name} {told}", f"# TYPE {name} gauge", *(f"{key} {value!r}" for key, value in series)]
    return "\n".join([*lines, ""])


def from_text(text: str) -> Figures:
    """The figures that `to_text` wrote; lines that it does not write are left out."""
    matches = (_SERIES.fullmatch(line) for line in text.splitlines())
    return {match[1]: float(match[3]) for match in matches if match and match[2] in HELP}


def tell(settings: Settings, kind: str, status: int) -> None:
    """Replace the file in `LOG_DIR/metrics` after a run. What goes wrong is logged, and never fails the run."""
    path = settings.log_dir / FOLDER / FILE
    try:
        before = from_text(path.read_text(encoding="ascii", errors="replace")) if path.exists() else {}
        figures = after_run(before, kind, status, _known(settings.data_dir), time.time())
        figures["pipeline_retrain_interval_seconds"] = settings.retrain_days * DAY
        figures["pipeline_collect_interval_seconds"] = settings.collect_every_hours * HOUR
        replace_metrics(path, to_text(figures))
    except (OSError, RunError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be written (%s): Prometheus does not hear of this run", path, error)


def tell_look(log_dir: Path, now: float) -> None:
    """Have Prometheus know that a canary was looked at. What goes wrong is logged, and never fails the release."""
    path = log_dir / FOLDER / LOOK_FILE
    try:
        replace_metrics(
            path,
            f"# HELP {LOOK} When a canary was last looked at, in seconds since 1970\n# TYPE {LOOK} gauge\n{LOOK} {now!r}\n",
        )
    except (OSError, RunError) as error:
        log.warning("%s cannot be written (%s): Prometheus does not hear of this look", path, error)


def replace_metrics(path: Path, text: str) -> None:
    """Replace a metrics file that every user may read, in a folder that every user may enter, whatever our umask is.

    Its reader is node-exporter, a user of its own in a container, which mounts the folder. Raises OSError.
    """
    with replacing(path) as file:
        folder = path.parent
        if (mode := stat.S_IMODE(folder.stat().st_mode)) & READABLE != READABLE:
            folder.chmod(mode | READABLE)
        os.fchmod(file.fileno(), 0o644)
        file.write(text.encode())


def _known(data: Path) -> Known:
    version = current_version(data)
    report = read_json(data / "versioning" / f"report_{version}.json") or {}
    trained_on = datetime.fromisoformat(report["trained_on"]).timestamp() if "trained_on" in report else None
    state = collector.CollectionState.load(data / collector.FILE)
    if state is None:
        return Known(version=version, trained_on=trained_on, lags=())
    # Software 1.0 kept no counts of a single collection.
    last = state.last if "last" in state.model_fields_set else None
    return Known(version=version, trained_on=trained_on, lags=state.lags, last=last, refused=state.refused)
