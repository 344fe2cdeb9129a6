"""The last run of each job, and when each job is due. Pure: times are arguments, in seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

RETRAIN, COLLECT = "retrain", "collect"
JOBS = (RETRAIN, COLLECT)
BUSY = 75
# scripts/run could not run anything: see its standard error in the journal.
NOT_RUN = 69
BUSY_SECONDS, BUSY_RETRIES = 300.0, 12
# A smaller correction of the clock does not count as set back.
SLACK_SECONDS = 60.0
WORDS = {
    0: "done",
    1: "failed",
    2: "wrong use",
    3: "refused",
    4: "inconclusive",
    NOT_RUN: "could not begin: code or packages are not installed, scripts/run --install says why",
    BUSY: "another run held the lock",
    130: "stopped by Ctrl-C",
    143: "stopped by TERM",
}
# Exit statuses of runs that finished; a run with any other status was cut off.
FINISHED = frozenset({0, 1, 2, 3, 4, NOT_RUN, BUSY})
STOPPED = frozenset({130, 143})
# A run reports these by itself, or there is nothing to report. It cannot report bad settings or its own kill.
QUIET = frozenset({0, 1, 3, 4, BUSY, 130, 143})
# Stands for the exit status of a run that another scheduler had started.
UNOBSERVED = 1 << 16


class Every(NamedTuple):
    """Seconds from start to start for each kind of run, and the longest time that a run may take."""

    retrain: float
    collect: float
    longest: float


@dataclass(frozen=True)
class Run:
    """The last run of a job. Times in seconds since 1970; no `started`: it never ran; no `ended`: it goes on, or was cut off.

    `cut_off`: it was stopped with the scheduler, or died with it, and is due again. `busy`: so many tries found another run.
    """

    started: float | None = None
    ended: float | None = None
    status: int | None = None
    pid: int | None = None
    busy: int = 0
    cut_off: bool = False
    note: str = ""


Runs = dict[str, Run]


def due_times(runs: Mapping[str, Run], every: Every, now: float) -> dict[str, float]:
    """When each job is due, in seconds since 1970; up to `now` means now. Only one is due at a time.

    One run makes up for all missed ones. A full run collects too, so it replaces a due collection.
    """
    retrain = _due(runs[RETRAIN], every.retrain, now)
    collect = _due(runs[COLLECT], every.collect, now)
    if (full := runs[RETRAIN].started) is not None:
        collect = max(collect, full + every.collect)
    if retrain <= now:
        collect = max(collect, now + every.collect)
    return {RETRAIN: retrain, COLLECT: collect}


def _due(run: Run, seconds: float, now: float) -> float:
    if run.started is None or run.cut_off:
        return now
    if run.ended is not None and is_retried(run):
        return run.ended + BUSY_SECONDS
    return run.started + seconds


def is_retried(run: Run) -> bool:
    """Whether the run found another run at work and is to be retried soon."""
    return run.status == BUSY and run.busy <= BUSY_RETRIES


def settled(runs: Mapping[str, Run], now: float) -> Runs:
    """The runs after the clock was set back: times in the future become now."""
    return {job: replace(run, started=_settled(run.started, now), ended=_settled(run.ended, now)) for job, run in runs.items()}


def _settled(moment: float | None, now: float) -> float | None:
    return now if moment is not None and moment > now + SLACK_SECONDS else moment


def ended(run: Run, status: int, now: float, note: str = "") -> Run:
    """The run after its end with a status."""
    busy = run.busy + 1 if status == BUSY else 0
    return replace(run, ended=now, status=None if status == UNOBSERVED else status, pid=None, busy=busy, note=note)


def words_of(run: Run) -> str:
    """The end of a run as a person reads it."""
    if run.status is None:
        text = "cut off" if run.cut_off else "ended unseen"
    elif run.status < 0:
        text = f"killed by signal {-run.status}"
    else:
        text = f"{run.status} {WORDS.get(run.status, 'unknown')}"
    return f"{text}: {run.note}" if run.note else text
