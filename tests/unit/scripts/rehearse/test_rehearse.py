from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.errors import RunError
from auto_deployment.release.state_machine import Ending
from scripts.rehearse import stack as stack_module
from scripts.rehearse.acts import ACTS
from scripts.rehearse.cases import CASES, chosen, wrong_endings
from scripts.rehearse.stack import Stack
from scripts.rehearse.traffic import Visits, read_summary

if TYPE_CHECKING:
    from pathlib import Path


def test_every_case_can_be_acted_and_expects_an_end_that_there_is() -> None:
    """Names are unique, acts exist, endings are those of a release."""
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.act for case in CASES} <= set(ACTS)
    assert {ending for case in CASES for ending in case.endings} <= set(Ending)
    assert [case.endings[-1] for case in CASES] == [case.expected for case in CASES]


def test_every_ending_of_a_case_counts_and_not_its_last_alone() -> None:
    """One that is missing, one too many, another one: each is told with what should have been."""
    (newer,) = chosen(["newer"])
    assert wrong_endings(newer, ["superseded", "promoted"]) == ""
    assert wrong_endings(newer, ["aborted", "promoted"]) == "aborted, promoted instead of superseded, promoted"
    assert wrong_endings(newer, ["promoted"]) == "promoted instead of superseded, promoted"
    assert wrong_endings(newer, []) == "no end instead of superseded, promoted"


class Noted(Stack):
    """A stack whose docker only notes what it is called with, and names these images."""

    def __init__(self, *images: str) -> None:
        self.name = "movierec-rehearse"
        self.called: list[tuple[str, ...]] = []
        self._images = images

    def docker(self, *arguments: str, check: bool = True, timeout: float = 0.0) -> subprocess.CompletedProcess[str]:  # noqa: ARG002 - docker's form
        """Note it."""
        self.called.append(arguments)
        said = "".join(f"{image}\n" for image in self._images) if arguments[:2] == ("image", "ls") else ""
        return subprocess.CompletedProcess(arguments, 0, said, "")


def test_a_stack_without_an_engine_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's own words stand last."""

    def refused(*arguments: str, **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 1, "", "Cannot connect to the Docker daemon\n")

    monkeypatch.setattr(Stack, "docker", staticmethod(refused))
    monkeypatch.setattr(stack_module, "copy_of_project", lambda folder: folder)
    message = "no Docker engine answers, scripts/dev engine starts one: Cannot connect to the Docker daemon"
    with pytest.raises(RunError) as raised:
        Stack(tmp_path, "movierec-rehearse")
    assert str(raised.value) == message


def test_a_stack_that_goes_takes_every_image_of_its_own_with_it() -> None:
    """By name: what is the same under another stack's name stays. Where there is none, none is asked to go."""
    images = ("movierec-rehearse:stable", "movierec-rehearse:model-1", "movierec-rehearse:model-2")
    stack = Noted(*images)
    stack.down()
    assert stack.called[0][:3] == ("compose", "down", "-v")
    assert stack.called[1:] == [
        ("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "movierec-rehearse"),
        ("image", "rm", "-f", *images),
    ]
    without = Noted()
    without.down()
    assert [call[:2] for call in without.called] == [("compose", "down"), ("image", "ls")]


def test_what_a_killed_rehearsal_left_goes_before_the_next_begins() -> None:
    """Its database has the passwords of that one."""
    stack = Noted()
    stack.up_anew()
    composed = [call[1] for call in stack.called if call[0] == "compose"]
    assert composed == ["down", "up"]


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
