from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.errors import RunError
from auto_deployment.release.state_machine import Ending
from scripts.rehearse import compose_stack
from scripts.rehearse.__main__ import RESULTS, CaseResult, differences
from scripts.rehearse.actions import ACTIONS
from scripts.rehearse.cases import CASES, select_cases, wrong_endings
from scripts.rehearse.compose_stack import ComposeStack
from scripts.rehearse.traffic import Visits, read_summary

if TYPE_CHECKING:
    from pathlib import Path


def test_every_case_names_an_action_and_an_ending_that_exist() -> None:
    """Names are unique. Actions exist. Endings are those of a release."""
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.action for case in CASES} <= set(ACTIONS)
    assert {ending for case in CASES for ending in case.endings} <= set(Ending)
    assert [case.endings[-1] for case in CASES] == [case.expected for case in CASES]


def test_every_ending_of_a_case_counts_and_not_its_last_alone() -> None:
    """A missing, a surplus and a different ending: the message has both the actual and the expected endings."""
    (newer,) = select_cases(["newer"])
    assert wrong_endings(newer, ["superseded", "promoted"]) == ""
    assert wrong_endings(newer, ["aborted", "promoted"]) == "aborted, promoted instead of superseded, promoted"
    assert wrong_endings(newer, ["promoted"]) == "promoted instead of superseded, promoted"
    assert wrong_endings(newer, []) == "no end instead of superseded, promoted"


class RecordingStack(ComposeStack):
    """A stack whose docker only records its arguments, and lists these images."""

    def __init__(self, *images: str) -> None:
        self.name = "movierec-rehearse"
        self.called: list[tuple[str, ...]] = []
        self._images = images

    def docker(self, *arguments: str, check: bool = True, timeout: float = 0.0) -> subprocess.CompletedProcess[str]:  # noqa: ARG002 - the arguments of ComposeStack.docker
        """Record the call."""
        self.called.append(arguments)
        output = "".join(f"{image}\n" for image in self._images) if arguments[:2] == ("image", "ls") else ""
        return subprocess.CompletedProcess(arguments, 0, output, "")


def test_a_stack_without_an_engine_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message ends with the engine's own words."""

    def refused(*arguments: str, **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 1, "", "Cannot connect to the Docker daemon\n")

    monkeypatch.setattr(ComposeStack, "docker", staticmethod(refused))
    monkeypatch.setattr(compose_stack, "copy_of_project", lambda folder: folder)
    message = "no Docker engine answers, scripts/dev engine starts one: Cannot connect to the Docker daemon"
    with pytest.raises(RunError) as raised:
        ComposeStack(tmp_path, "movierec-rehearse")
    assert str(raised.value) == message


def test_down_removes_every_image_of_the_stack() -> None:
    """Images are removed by name, so another stack's names stay. Without images nothing is removed."""
    images = ("movierec-rehearse:stable", "movierec-rehearse:model-1", "movierec-rehearse:model-2")
    stack = RecordingStack(*images)
    stack.down()
    assert stack.called[0][:3] == ("compose", "down", "-v")
    assert stack.called[1:] == [
        ("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "movierec-rehearse"),
        ("image", "rm", "-f", *images),
    ]
    without = RecordingStack()
    without.down()
    assert [call[:2] for call in without.called] == [("compose", "down"), ("image", "ls")]


def test_start_clean_first_removes_what_a_killed_rehearsal_left() -> None:
    """The old database has the old passwords."""
    stack = RecordingStack()
    stack.start_clean()
    composed = [call[1] for call in stack.called if call[0] == "compose"]
    assert composed == ["down", "up"]


def test_cases_are_chosen_by_name_in_the_order_asked_for() -> None:
    """Without names all cases are selected. An unknown name is an error."""
    assert select_cases([]) == list(CASES)
    assert [case.name for case in select_cases(["rollback", "good"])] == ["rollback", "good"]
    with pytest.raises(KeyError, match="better"):
        select_cases(["better"])


@pytest.mark.parametrize(
    ("summary", "visits"),
    [
        ("simulate: requests 40, ok 40, failed 0, p50 2.1 ms, p99 8.0 ms\n", Visits(40, 0, "", 8.0)),
        (
            "requests 40, ok 37, failed 3 (status 504 2, timeout 1), p50 2.1 ms, p99 600.0 ms",
            Visits(40, 3, "status 504 2, timeout 1", 600.0),
        ),
        ("requests 0, ok 0, failed 0", Visits()),
    ],
)
def test_the_simulators_summary_is_read(summary: str, visits: Visits) -> None:
    """The number of visits and of failures, and the kinds of failures."""
    assert read_summary(f"some progress\n{summary}") == visits


def test_a_simulator_without_a_summary_is_an_error() -> None:
    """The message has the simulator's output."""
    with pytest.raises(RunError, match="no such option"):
        read_summary("no such option")


def test_every_difference_from_a_case_is_named() -> None:
    """The ending, failed requests, the number of mails and NGINX's count. A case as expected has no difference."""
    (good,) = select_cases(["good"])
    assert differences(good, ["promoted"], Visits(40), ["version 3 promoted"], 40) == []
    assert differences(good, ["aborted"], Visits(40, 3, "timeout 3"), [], 39) == [
        "aborted instead of promoted",
        "3 requests failed: timeout 3",
        "0 mails instead of 1: []",
        "NGINX logged 39 requests, the client made 40",
    ]


def test_the_report_keeps_its_keys() -> None:
    """Other programs read them."""
    result = CaseResult("good", "promoted", "promoted", 61.5, 900, 0, 1, ok=True, subjects=["promoted"], problems=[])
    (row,) = RESULTS.dump_python([result], mode="json", by_alias=True)
    assert row == {
        "case": "good",
        "expected": "promoted",
        "verdict": "promoted",
        "seconds": 61.5,
        "requests": 900,
        "failed_requests": 0,
        "messages": 1,
        "ok": True,
        "told": ["promoted"],
        "wrong": [],
    }
    assert [*row] == [
        "case",
        "expected",
        "verdict",
        "seconds",
        "requests",
        "failed_requests",
        "messages",
        "ok",
        "told",
        "wrong",
    ]
