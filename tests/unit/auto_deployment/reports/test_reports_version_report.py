from __future__ import annotations

import pytest

from auto_deployment.reports.version_report import clock_lines

BEFORE, AFTER = "2025-10-19T08:00:00Z", "2026-11-23T08:00:00Z"


@pytest.mark.parametrize("told", [{}, {"last_trained_on": None}, {"last_trained_on": BEFORE}, {"last_trained_on": AFTER}])
def test_a_clock_that_goes_on_is_not_told(told: dict[str, str | None]) -> None:
    """The first version, a report of an older form, a later version, and one of the same second."""
    assert clock_lines({"trained_on": AFTER, **told}) == []


def test_a_version_older_than_the_one_before_it_is_told_with_both_times() -> None:
    """Which clock was wrong a person has to see."""
    (line,) = clock_lines({"trained_on": BEFORE, "last_trained_on": AFTER})
    assert line.startswith(f"the clock was SET BACK: this version is of {BEFORE}, the last one of {AFTER}")
