from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_deployment.scheduler.plan import (
    BUSY,
    BUSY_RETRIES,
    BUSY_SECONDS,
    COLLECT,
    RETRAIN,
    UNOBSERVED,
    Run,
    due_times,
    ended,
    settled,
    words_of,
)
from tests.unit.auto_deployment.scheduler.runs import DAY, EVERY, HOUR, NOW, done, some_runs


def due(retrain: Run, collect: Run = Run(), now: float = NOW) -> dict[str, float]:  # noqa: B008 - it is frozen
    """When each is due, from now on in seconds."""
    return {job: moment - now for job, moment in due_times({RETRAIN: retrain, COLLECT: collect}, EVERY, now).items()}


def test_a_full_run_is_due_at_once_where_none_ever_ran() -> None:
    """It collects too, so the first collection comes after it."""
    assert due(Run()) == {RETRAIN: 0, COLLECT: 6 * HOUR}


def test_runs_are_due_from_start_to_start() -> None:
    """However long they take, they do not drift."""
    retrain, collect = Run(NOW - DAY, NOW - HOUR, 0), done(NOW - 2 * HOUR)
    assert due(retrain, collect) == {RETRAIN: DAY, COLLECT: 4 * HOUR}


def test_a_full_run_takes_the_place_of_a_collection() -> None:
    """The next one is due that long after the later of both."""
    assert due(done(NOW - HOUR), done(NOW - 7 * HOUR))[COLLECT] == 5 * HOUR


def test_only_one_run_is_due_where_both_are() -> None:
    """The full one, as it does the other's work."""
    assert due(done(NOW - 3 * DAY), done(NOW - 7 * HOUR)) == {RETRAIN: -DAY, COLLECT: 6 * HOUR}


def test_missed_runs_are_made_up_once() -> None:
    """After a month away one is due; once it has begun, the next comes two days later."""
    assert due(done(NOW - 30 * DAY))[RETRAIN] <= 0
    assert due(done(NOW))[RETRAIN] == 2 * DAY


@pytest.mark.parametrize("status", [1, 2, 3, 4, 143, -9])
def test_a_failed_run_waits_for_its_turn(status: int) -> None:
    """Whatever it ended with, it is not hammered."""
    assert due(done(NOW - HOUR, status))[RETRAIN] == 2 * DAY - HOUR


def test_a_run_that_was_cut_off_is_due_again() -> None:
    """It goes on where it stood."""
    assert due(done(NOW - HOUR, 143, cut_off=True))[RETRAIN] == 0


def test_a_run_that_found_another_one_is_tried_again_twelve_times() -> None:
    """Five minutes after each; then it waits for its turn."""
    for busy in range(1, BUSY_RETRIES + 1):
        assert due(done(NOW - 60, BUSY, busy=busy))[RETRAIN] == BUSY_SECONDS
    assert due(done(NOW - 60, BUSY, busy=BUSY_RETRIES + 1))[RETRAIN] == 2 * DAY - 60


@given(some_runs, some_runs, st.floats(1e9, 2e9))
def test_no_wait_is_longer_than_an_interval_and_at_most_one_run_is_due(retrain: Run, collect: Run, now: float) -> None:
    """Whatever is remembered, and wherever the clock was set: no endless wait, no storm."""
    waits = due_times(settled({RETRAIN: retrain, COLLECT: collect}, now), EVERY, now)
    assert waits[RETRAIN] <= now + EVERY.retrain + 60
    assert waits[COLLECT] <= now + EVERY.collect + EVERY.retrain
    assert sum(moment <= now for moment in waits.values()) <= 1


def test_a_run_in_the_future_counts_as_just_now() -> None:
    """The clock was set back by a year: the next run is one interval away."""
    runs = settled({RETRAIN: done(NOW + 365 * DAY), COLLECT: done(NOW - HOUR)}, NOW)
    assert (runs[RETRAIN].started, runs[RETRAIN].ended) == (NOW, NOW)
    assert runs[COLLECT] == done(NOW - HOUR)


def test_a_clock_that_is_set_right_by_seconds_changes_nothing() -> None:
    """Time servers do so all day."""
    assert settled({RETRAIN: done(NOW - 50)}, NOW) == {RETRAIN: done(NOW - 50)}


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (done(NOW), "0 done"),
        (done(NOW, 3), "3 refused"),
        (done(NOW, 75), "75 another run held the lock"),
        (done(NOW, 99), "99 unknown"),
        (done(NOW, -9), "killed by signal 9"),
        (done(NOW, 1, note="hung, ended after 12 h"), "1 failed: hung, ended after 12 h"),
        (ended(Run(NOW), UNOBSERVED, NOW), "ended unseen"),
        (Run(NOW, NOW, cut_off=True), "cut off"),
    ],
)
def test_an_end_is_reported_in_words(run: Run, words: str) -> None:
    """The status as a number, what it means, and what is known beside it."""
    assert words_of(run) == words
