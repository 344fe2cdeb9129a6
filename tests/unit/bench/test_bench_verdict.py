from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.bench.releases import FAULTS, HEALTHY, Service, simulate
from tests.bench.verdict import FEW, Found, bad_minutes, consecutive, first, judge, judge_many, rows_of, side_of, table_line

inf = float("inf")


def found(*ours: float, fixed: float = 3.0) -> Found:
    """The decisions of the rules on so many releases."""
    count = len(ours)
    minutes_each = (np.array(ours), np.full(count, inf), np.full(count, fixed), np.full(count, fixed))
    return Found(*minutes_each, np.zeros(count, dtype=bool), np.zeros(count, dtype=bool))


def test_the_first_minute_is_the_first_in_which_it_happened() -> None:
    """Counted from 1; never is infinity."""
    assert first(np.array([[False, True, True], [False] * 3, [True, False, False]])).tolist() == [2, inf, 1]


def test_a_bad_minute_has_many_errors_or_a_slow_mean() -> None:
    """Each for itself; in a row they count from the last good one."""
    zero, over = np.zeros((1, 6)), np.zeros((3, 1, 6))
    failures, seconds = np.array([[0.0, 2, 2, 0, 0, 0]]), np.array([[1.0, 1, 1, 1.3, 1.1, 1.3]])
    canary = side_of(Service(np.full((1, 6), 100.0), failures, np.full((1, 6), 100.0), seconds, over, zero))
    base = side_of(Service(np.full((1, 6), 100.0), zero, np.full((1, 6), 100.0), np.ones((1, 6)), over, zero))
    bad = bad_minutes(canary, base)
    assert bad.tolist() == [[False, True, True, True, False, True]]
    assert consecutive(bad).tolist() == [[0, 1, 2, 3, 0, 1]]


def test_crashes_count_from_the_first_one_on() -> None:
    """Found in the minute of the first crash, whenever that is."""
    outcome = judge(simulate(FAULTS["crash every hour"], 2.0, 10, np.random.default_rng(1), 120))
    assert (outcome.ours <= 3).all()
    assert not np.isfinite(outcome.known).any()


def test_the_known_rule_finds_what_is_above_its_limit_and_nothing_below() -> None:
    """At the bake's end, by the mean of the whole life."""
    services = simulate(HEALTHY, 2.0, 4, np.random.default_rng(1), 60)
    services["canary"].seconds[:2] = services["canary"].answers[:2] * 0.6
    services["canary"].seconds[2:] = services["canary"].answers[2:] * 0.4
    assert np.isfinite(judge(services).known).tolist() == [True, True, False, False]


def test_batches_together_are_the_releases_that_were_asked_for() -> None:
    """Each with a seed of its own."""
    many = judge_many(FAULTS["errors 20 %"], 20.0, 60, [1, 2])
    assert [len(each) for each in (many.ours, many.known, many.fixed, many.in_a_row, many.held, many.plainly_held)] == [60] * 6
    assert np.isfinite(many.ours).all()


@pytest.mark.parametrize(("aborted", "goal"), [(1, "met"), (2, "missed")])
def test_more_than_one_healthy_release_in_a_hundred_is_too_many(aborted: int, goal: str) -> None:
    """Beside five bad minutes in a row on the same data; the bound is the promise."""
    row, _ = rows_of(2.0, "healthy", found(*[5.0] * aborted, *[inf] * (100 - aborted)))
    assert (row.ours, row.baseline, row.met) == (aborted / 100, 1.0, goal == "met")


@pytest.mark.parametrize(
    ("rate", "name", "missed", "goals"),
    [
        (2.0, "mean x5", 1, [True, True]),
        (2.0, "mean x5", 2, [False, True]),
        (2.0, "mean +50 %", 5, [True, None]),
        (20.0, "errors 1 %", 6, [False, None]),
        (0.2, "mean +50 %", 60, [None, None]),
        (2.0, "mean +20 %", 90, [None, None]),
        (0.2, "crash every hour", 0, [True, False]),
    ],
)
def test_missed_faults_are_held_against_their_goals(rate: float, name: str, missed: int, goals: list[bool | None]) -> None:
    """Beside the known rule, which misses them all; where there is a goal for the time, that too."""
    rows = [
        row for row in rows_of(rate, name, found(*[9.0] * (100 - missed), *[inf] * missed)) if "promoted" not in row.measure
    ]
    assert [None if row.goal is None else row.met for row in rows] == goals
    assert rows[0].ours == pytest.approx(missed / 100)
    assert rows[0].baseline == 1.0


@pytest.mark.parametrize(("rate", "held", "goal"), [(FEW, 1, "met"), (FEW, 2, "missed"), (0.02, 9, None)])
def test_healthy_releases_that_few_answers_hold_up_have_a_goal(rate: float, held: int, goal: str | None) -> None:
    """At most one in 100 from 2,500 answers on, compared with what limits without regard to chance hold up."""
    outcome = replace(found(*[inf] * 100), held=np.arange(100) < held, plainly_held=np.arange(100) < 10)
    row = rows_of(rate, "healthy", outcome)[1]
    assert (row.ours, row.baseline) == (held / 100, 0.1)
    assert (None if row.goal is None else row.met) == (None if goal is None else goal == "met")


@pytest.mark.parametrize(("passed", "goal"), [(1, "met"), (2, "missed")])
def test_a_fault_that_is_promoted_is_held_against_a_goal(passed: int, goal: str) -> None:
    """One that is neither found nor held up; the known rule promotes them all."""
    outcome = replace(found(*[inf] * 100), held=np.arange(100) >= passed)
    row = rows_of(FEW, "errors 5 %", outcome)[-1]
    assert (row.measure, row.ours, row.baseline) == (f"{FEW:g}/s errors 5 %: promoted", passed / 100, 1.0)
    assert row.met == (goal == "met")


def test_chance_holds_nothing_up() -> None:
    """Of the same healthy releases with few answers, a limit alone holds up more than limit and chance together."""
    outcome = judge_many(HEALTHY, 0.02, 50, [1, 2])
    assert outcome.held.sum() == 0
    assert outcome.plainly_held.sum() > 0


def test_a_line_tells_the_three_rules_with_intervals() -> None:
    """And those that would not pass at twelve hours either."""
    line = table_line(2.0, "healthy", found(4.0, inf, inf, inf))
    assert "ours 1 of 4 (4.6% to 69.9%)" in line
    assert "known rule 0 of 4" in line
    assert "fixed threshold 4 of 4" in line
