"""What `--status` prints. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.common.time_format import span, to_iso
from auto_deployment.scheduler.plan import JOBS, words_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auto_deployment.scheduler.plan import Run


def status_text(runs: Mapping[str, Run], due: Mapping[str, float | None], holder: str | None, now: float) -> str:
    """What `--status` prints; `holder` is the scheduler that runs."""
    lines = [f"scheduler: {holder or 'does not run'}"]
    for job in JOBS:
        lines += [f"{job}:", f"  last: {_last(runs[job], now, alive=holder is not None)}"]
        lines += [f"  next: {_next(due[job], now, alive=holder is not None)}"]
    return "\n".join(lines) + "\n"


def _last(run: Run, now: float, *, alive: bool) -> str:
    if run.started is None:
        return "never"
    if run.ended is None:
        state = f"goes on since {span(now - run.started)}, pid {run.pid}" if alive else "cut off"
        return f"{to_iso(run.started)}, {state}"
    return f"{to_iso(run.started)} to {to_iso(run.ended)} ({span(run.ended - run.started)}), {words_of(run)}"


def _next(due: float | None, now: float, *, alive: bool) -> str:
    if due is None:
        return "when the scheduler starts"
    if due > now:
        return f"{to_iso(due)}, in {span(due - now)}"
    return f"{to_iso(due)}, {'now, or after the run that goes on' if alive else 'when the scheduler starts'}"
