"""The file that remembers the runs, across restarts and full disks."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from auto_deployment.common.json_file import StateError, read_json, write_json_synced
from auto_deployment.common.time_format import from_iso, to_iso
from auto_deployment.scheduler.plan import JOBS, Run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from auto_deployment.scheduler.plan import Runs

log = logging.getLogger(__package__)

STATE = "scheduler.json"  # of a data folder


class Memory:
    """The file that remembers the runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Runs, dict[str, float | None]]:
        """The runs and when each job is due next. Raises ValueError for a corrupt file, StateError for an unreadable one."""
        try:
            document = read_json(self._path)
        except StateError as error:
            if isinstance(error.__cause__, OSError):
                raise
            raise ValueError(str(error)) from error
        if document is None:
            return dict.fromkeys(JOBS, Run()), dict.fromkeys(JOBS)
        return from_document(document)

    def recall(self) -> Runs:
        """The runs. A corrupt file is set aside, and the runs begin empty."""
        try:
            return self.read()[0]
        except ValueError as error:
            broken = self._path.with_name(f"{self._path.name}.broken")
            self._path.replace(broken)
            log.error("%s is corrupt (%s): set aside as %s; all jobs count as never run", self._path, error, broken.name)  # noqa: TRY400
            return dict.fromkeys(JOBS, Run())

    def write(self, runs: Mapping[str, Run], due: Mapping[str, float]) -> None:
        """Replace the file. A full disk is only logged: after a restart, a run may be repeated."""
        try:
            write_json_synced(self._path, to_document(runs, due))
        except OSError as error:
            log.error("%s cannot be written (%s): a restart would not know of this run", self._path, error.strerror)  # noqa: TRY400


def to_document(runs: Mapping[str, Run], due: Mapping[str, float]) -> dict[str, Any]:
    """The content of scheduler.json."""
    return {
        "jobs": {
            job: {**asdict(run), "started": to_iso(run.started), "ended": to_iso(run.ended), "next_due": to_iso(due[job])}
            for job, run in runs.items()
        }
    }


def from_document(document: Mapping[str, Any]) -> tuple[Runs, dict[str, float | None]]:
    """The runs, and when each job is due next, of a document. Raises ValueError for what `to_document` does not write."""
    try:
        jobs = {job: document["jobs"][job] for job in JOBS}
        return {job: _run(entry) for job, entry in jobs.items()}, {
            job: from_iso(entry["next_due"]) for job, entry in jobs.items()
        }
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not what the scheduler writes ({error!r})") from error


def _run(entry: Mapping[str, Any]) -> Run:
    return Run(
        started=from_iso(entry["started"]),
        ended=from_iso(entry["ended"]),
        status=_whole(entry["status"]),
        pid=_whole(entry["pid"]),
        busy=_whole(entry["busy"]) or 0,
        cut_off=entry["cut_off"] is True,
        note=str(entry["note"]),
    )


def _whole(number: object) -> int | None:
    if number is not None and type(number) is not int:
        raise ValueError(f"{number!r} is no whole number")
    return number
