"""Services die with -9 under load: no client notices, and every answer can be traced."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.integration.demo_runner import SERVICES, Demo
from tests.integration.load import Load

if TYPE_CHECKING:
    from pathlib import Path

REQUESTS = 20_000
CLIENTS = 16

pytestmark = [pytest.mark.crash, pytest.mark.hurried]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    """A running demo, stopped at the end."""
    return Demo(tmp_path / "demo")


def settle(demo: Demo, at_least: int) -> None:
    """Wait until the shipper has brought `at_least` rows and no more come."""
    until, last = time.monotonic() + 30, -1
    while time.monotonic() < until:
        now = len(demo.served())
        if now >= at_least and now == last:
            return
        last = now
        time.sleep(1)


def test_no_request_fails_while_services_are_killed_and_every_answer_has_one_row(
    demo: Demo, request: pytest.FixtureRequest
) -> None:
    """20,000 requests from 16 clients, one service after the other killed: none fails, each 200 has exactly one row."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    until = time.monotonic() + 3600 * request.config.getoption("--soak-hours")
    demo.start()
    try:
        rounds, beyond = 0, []
        while rounds == 0 or time.monotonic() < until:
            beyond = one_round(demo, chance)
            rounds += 1
        print(f"{rounds} rounds of {REQUESTS} requests; rows of answers cut off in the last one: {beyond}")
    finally:
        assert demo.stop() == 130
    assert demo.processes() == []


def one_round(demo: Demo, chance: random.Random) -> list[str]:
    """A round of load with kills; the ids of answers that were cut off."""
    before = len(demo.tries())
    load = Load(demo.port, REQUESTS, CLIENTS)
    load.start()
    kills = 0
    for name in chance.sample(SERVICES, 3):
        wait_for(load, int(REQUESTS * (0.1 + 0.25 * kills + 0.1 * chance.random())))
        demo.kill(name) if chance.random() < 0.7 else os.kill(demo.pid(name), signal.SIGKILL)
        kills += 1
        wait_until_back(demo, name)
    load.finish()
    assert load.failures == []
    assert load.statuses == Counter({200: REQUESTS})
    return unaccounted(demo, before, kills)


def wait_for(load: Load, done: int) -> None:
    """Wait until `done` requests have ended."""
    while load.done() < done and load.running():
        time.sleep(0.005)


def wait_until_back(demo: Demo, name: str) -> None:
    """Wait until a service answers again: what is promised is that any one of them may die."""
    until = time.monotonic() + 30
    while not demo.is_back(name):
        assert time.monotonic() < until, f"{name} did not come back"
        time.sleep(0.05)


def unaccounted(demo: Demo, before: int, kills: int) -> list[str]:
    """Check that each 200 has one row; the rows beyond them, at most those in flight at the kills."""
    answered = [each["answer_id"] for each in demo.tries() if each["status"] == 200 and each["answer_id"]]
    settle(demo, len(answered))
    served = Counter(demo.served())
    assert max(served.values()) == 1
    assert [each for each in answered if each not in served] == []
    beyond = sorted(set(served) - set(answered))
    assert len(beyond) <= CLIENTS * kills * (1 + before // REQUESTS), beyond
    return beyond
