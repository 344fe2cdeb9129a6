"""The metrics of releases for Prometheus: a file for node-exporter's textfile collector."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from auto_deployment.pipeline.metrics import FOLDER, replace_metrics
from auto_deployment.release.state_machine import EXIT_STATUS

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.release.state import ReleaseState

log = logging.getLogger(__name__)

FILE = "release.prom"
HELP = {
    "release_version_in_service": "The version in service",
    "release_in_service_since_time_seconds": "Since when, in seconds since 1970",
    "release_under_way_version": "The version that is being released or rolled back to; absent where there is none",
    "release_last_end_time_seconds": "When the last release ended, in seconds since 1970",
    "release_last_end_status": "0 promoted, rolled back, superseded; 1 failed; 3 aborted, refused; 4 inconclusive",
    "release_last_end_version": "Its version",
}


def to_text(state: ReleaseState) -> str:
    """A state's metrics in Prometheus's text format. Pure."""
    values: dict[str, float] = {}
    if state.in_service is not None:
        values["release_version_in_service"] = state.in_service
        values["release_in_service_since_time_seconds"] = state.since
    if state.under_way is not None:
        values["release_under_way_version"] = state.under_way.version
    if state.ends:
        last = state.ends[-1]
        values["release_last_end_time_seconds"] = last.ended
        values["release_last_end_status"] = EXIT_STATUS[last.ending]
        values["release_last_end_version"] = last.version
    lines = (f"# HELP {name} {HELP[name]}\n# TYPE {name} gauge\n{name} {value!r}\n" for name, value in values.items())
    return "".join(lines)


def write_metrics(log_dir: Path, state: ReleaseState) -> None:
    """Replace the file in `LOG_DIR/metrics`. A failure is logged and never fails a release."""
    path = log_dir / FOLDER / FILE
    try:
        replace_metrics(path, to_text(state))
    except OSError as error:
        log.warning("%s cannot be written (%s): Prometheus has no metrics of this release", path, error)
