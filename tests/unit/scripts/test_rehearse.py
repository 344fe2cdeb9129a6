from __future__ import annotations

import pytest

from auto_deployment.errors import RunError
from auto_deployment.rollout.machine import Ending
from scripts.rehearse.acts import ACTS
from scripts.rehearse.cases import CASES, chosen
from scripts.rehearse.traffic import Visits, read_summary


def test_every_case_can_be_acted_and_expects_an_end_that_there_is() -> None:
    """Names are unique, acts exist, endings are those of a release."""
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.act for case in CASES} <= set(ACTS)
    assert {case.expected for case in CASES} <= set(Ending)


def test_cases_are_chosen_by_name_in_the_order_asked_for() -> None:
    """All of them where none is named; a name that there is none of is an error."""
    assert chosen([]) == list(CASES)
    assert [case.name for case in chosen(["rollback", "good"])] == ["rollback", "good"]
    with pytest.raises(KeyError, match="better"):
        chosen(["better"])


@pytest.mark.parametrize(
    ("said", "visits"),
    [
        ("simulate: requests 40, ok 40, failed 0, p50 2.1 ms, p99 8.0 ms\n", Visits(40, 0, "", 8.0)),
        (
            "requests 40, ok 37, failed 3 (status 504 2, timeout 1), p50 2.1 ms, p99 600.0 ms",
            Visits(40, 3, "status 504 2, timeout 1", 600.0),
        ),
        ("requests 0, ok 0, failed 0", Visits()),
    ],
)
def test_the_simulators_last_word_is_read(said: str, visits: Visits) -> None:
    """How many visits, how many failed, of what."""
    assert read_summary(f"some progress\n{said}") == visits


def test_a_simulator_without_a_last_word_is_an_error() -> None:
    """It says what it said instead."""
    with pytest.raises(RunError, match="no such option"):
        read_summary("no such option")
