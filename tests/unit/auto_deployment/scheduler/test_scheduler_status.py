from __future__ import annotations

import pytest

from auto_deployment.common.time_format import span
from auto_deployment.scheduler.plan import COLLECT, RETRAIN, Run
from auto_deployment.scheduler.status import status_text
from tests.unit.auto_deployment.scheduler.runs import DAY, HOUR, NOW


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3725, "1 h 2 min"),
        (2 * DAY, "2 d"),
        (DAY + HOUR + 60, "1 d 1 h"),
    ],
)
def test_a_duration_is_reported_in_its_two_largest_units(seconds: float, text: str) -> None:
    """A person wants no more."""
    assert span(seconds) == text


def test_status_tells_last_and_next_of_each_job() -> None:
    """With times, durations and exit status in words."""
    runs = {RETRAIN: Run(NOW - HOUR, NOW - HOUR / 2, 3), COLLECT: Run(NOW - 90, pid=77)}
    text = status_text(runs, {RETRAIN: NOW + DAY, COLLECT: NOW}, "pid 5 on host since then", NOW)
    assert text.splitlines() == [
        "scheduler: pid 5 on host since then",
        "retrain:",
        "  last: 2027-01-15T07:00:00.000Z to 2027-01-15T07:30:00.000Z (30 min), 3 refused",
        "  next: 2027-01-16T08:00:00.000Z, in 1 d",
        "collect:",
        "  last: 2027-01-15T07:58:30.000Z, goes on since 1 min 30 s, pid 77",
        "  next: 2027-01-15T08:00:00.000Z, now, or after the run that goes on",
    ]


def test_status_tells_what_is_known_without_a_scheduler() -> None:
    """What was cut off, what never ran, what its start will do."""
    text = status_text({RETRAIN: Run(NOW - 90), COLLECT: Run()}, {RETRAIN: NOW - 5, COLLECT: None}, None, NOW)
    assert [line.partition(": ")[2] for line in text.splitlines() if ": " in line] == [
        "does not run",
        "2027-01-15T07:58:30.000Z, cut off",
        "2027-01-15T07:59:55.000Z, when the scheduler starts",
        "never",
        "when the scheduler starts",
    ]
