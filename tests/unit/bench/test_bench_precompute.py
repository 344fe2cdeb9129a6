from __future__ import annotations

import pytest

from tests.bench.precompute import MOST_MIB, MOST_SECONDS, measured, rows


def test_every_user_gets_a_list_and_its_cost_is_reported() -> None:
    """A small table, measured as the large one is."""
    report = measured(600, films=200)
    assert (report["users"], report["ranker"]) == (600, "blend")
    assert all(report[name] > 0 for name in ("ranker_s", "lists_s", "lists_processor_s", "processor_s", "plain_us", "peak_mib"))


def test_time_and_memory_are_held_against_their_limits() -> None:
    """Ranker and lists together; a user's list compared with the plain way, without a goal."""
    report = {"users": 1000, "ranker": "ease", "ranker_s": 100.0, "lists_s": 560.0, "lists_processor_s": 0.5, "plain_us": 250.0}
    list_row, time_row, processor_row, memory_row = rows({**report, "processor_s": 900.0, "peak_mib": 1024.0})
    assert (list_row.ours, list_row.baseline, list_row.ratio, list_row.goal) == (500, 250, 2, None)
    assert (time_row.ours, time_row.baseline, time_row.met) == (660, MOST_SECONDS, False)
    assert time_row.ratio == pytest.approx(1.1)
    assert (processor_row.ours, processor_row.baseline, processor_row.ratio) == (900, 2 * MOST_SECONDS, 0.75)
    assert (memory_row.ours, memory_row.baseline, memory_row.ratio, memory_row.met) == (1024, MOST_MIB, 0.25, True)
