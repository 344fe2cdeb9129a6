"""Runs of a scheduler as the tests remember them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from auto_deployment.scheduler.plan import COLLECT, RETRAIN, Every, Run

HOUR, DAY = 3600.0, 86400.0
EVERY = Every(2 * DAY, 6 * HOUR, 12 * HOUR)
NOW = 1_800_000_000.0
NEVER = {RETRAIN: Run(), COLLECT: Run()}
moments = st.none() | st.floats(0, 4e9)
some_runs = st.builds(
    Run,
    started=moments,
    ended=moments,
    status=st.none() | st.integers(-15, 255),
    pid=st.none() | st.integers(2, 2**22),
    busy=st.integers(0, 20),
    cut_off=st.booleans(),
    note=st.text(),
)


def done(started: float, status: int = 0, **given_: Any) -> Run:
    """A run of a minute."""
    return Run(started=started, ended=started + 60, status=status, **given_)
