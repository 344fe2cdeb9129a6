"""Services asked past NGINX, of which one may hang."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from auto_deployment.release import operator_requests, probe
from auto_deployment.release.docker_commands import BUILD_SECONDS
from auto_deployment.release.probe import ProbeAnswer

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPConnection


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Has each answer take so long."""

    def last(seconds: float) -> None:
        def answered(_connection: HTTPConnection, user: int) -> ProbeAnswer:
            time.sleep(seconds)
            return ProbeAnswer(user, ("1",), seconds)

        monkeypatch.setattr(probe, "_request_list", answered)

    return last


def test_every_user_is_asked_for_at_every_address(answers: Callable[[float], None]) -> None:
    """Both have the same users in the same order, so that their lists can be compared."""
    answers(0.0)
    one, other = probe.request_lists(["a", "b"], range(50))
    assert sorted(each.user for each in one) == list(range(50))
    assert [each.user for each in one] == [each.user for each in other]


def test_a_service_that_hangs_is_asked_no_longer_than_it_may(answers: Callable[[float], None]) -> None:
    """What has been answered by then is told, and nothing comes after."""
    answers(0.1)
    began = time.monotonic()
    one, other = probe.request_lists(["a", "b"], range(3000), began + 0.5)
    assert time.monotonic() - began < 2
    count = len(one)
    assert 0 < count == len(other) < 100
    time.sleep(0.3)
    assert len(one) == len(other) == count


def test_the_one_who_looks_may_end_the_asking(answers: Callable[[float], None]) -> None:
    """At once, whatever the service does."""
    answers(1.0)

    def look() -> None:
        raise InterruptedError

    began = time.monotonic()
    with pytest.raises(InterruptedError):
        probe.request_lists(["a"], range(3000), began + 60, look)
    with pytest.raises(InterruptedError):
        probe.wait_ready("127.0.0.1", 60, look)
    assert time.monotonic() - began < 1


def test_a_request_waits_for_longer_than_the_longest_step() -> None:
    """Which nobody can end: an image being built."""
    assert operator_requests.ACKNOWLEDGE_SECONDS > BUILD_SECONDS
