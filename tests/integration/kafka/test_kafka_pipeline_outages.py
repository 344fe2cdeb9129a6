"""The whole pipeline while the real broker dies, hangs, comes back, or does not: no line is lost or taken twice.

Hosts with either client meet each outage at the same time: what they make of the stream must not differ in a byte.
"""

from __future__ import annotations

import json
import signal
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from auto_deployment.ingestion.kafka.client import CONNECT_SECONDS, PATIENCE_SECONDS
from scripts.broker.broker import Broker
from tests.integration.conftest import wait_until
from tests.integration.kafka.conftest import new_name
from tests.integration.kafka.hosts import MANY, checkout_for, collected, lines_of, tables_of
from tests.integration.post_office import open_post_office

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.checkout import Checkout

pytestmark = pytest.mark.slow

# A run's start and its last words, on a busy machine.
SLACK_SECONDS = 30.0
WAIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def topic(broker: Broker) -> str:
    """Five blocks in two partitions, which take turns: no block can be read ahead of the outage."""
    name = new_name()
    broker.create_topic(name, 2)
    broker.produce(name, lines_of(MANY, 31), 0)
    broker.produce(name, lines_of(MANY // 2, 32), 1)
    return name


@pytest.fixture(scope="module")
def calm(broker: Broker, topic: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run makes of it."""
    host = checkout_for(broker, topic, "confluent-kafka", tmp_path_factory.mktemp("calm"))
    collected(host, "--collect-only")
    return tables_of(host)


def hosts_of(broker: Broker, topic: str, folder: Path) -> list[Checkout]:
    """A host with each client."""
    return [checkout_for(broker, topic, library, folder / library) for library in ("kafka-python", "confluent-kafka")]


def lines_taken(host: Checkout) -> int:
    """How many lines are on record."""
    path = host.data("collected.json")
    return int(json.loads(path.read_bytes())["counts"]["lines"]) if path.exists() else 0


def is_waiting(host: Checkout) -> bool:
    """Whether a host's run has reported that it waits for the broker."""
    return "still waiting for" in host.said.read_text()


@contextmanager
def held(hosts: list[Checkout], runs: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Have each run stand still meanwhile, from its first block on.

    However fast it reads, it is in the midst of it when the broker has gone.
    """
    going = dict(zip(runs, hosts, strict=True))

    def all_stand_still() -> bool:
        for run in [run for run, host in going.items() if lines_taken(host)]:
            assert run.poll() is None, "it has ended"
            run.send_signal(signal.SIGSTOP)
            del going[run]
        return not going

    wait_until(all_stand_still, WAIT_SECONDS)
    try:
        yield
    finally:
        for run in runs:
            run.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(("outage", "end"), [(Broker.kill, Broker.start), (Broker.freeze, Broker.thaw)])
def test_runs_wait_out_a_broker_that_goes_away_in_the_midst_of_them(
    mortal: Broker,
    topic: str,
    calm: dict[str, bytes],
    tmp_path: Path,
    outage: Callable[[Broker], None],
    end: Callable[[Broker], None],
) -> None:
    """Killed with -9, or hanging: they go on when it is back, and not a byte is another."""
    hosts = hosts_of(mortal, topic, tmp_path)
    runs = [host.start("--collect-only") for host in hosts]
    with held(hosts, runs):
        outage(mortal)
    for host in hosts:
        wait_until(partial(is_waiting, host), WAIT_SECONDS)
    end(mortal)
    for host, run in zip(hosts, runs, strict=True):
        assert run.wait(WAIT_SECONDS) == 0, host.said.read_text()
        assert tables_of(host) == calm


def test_a_broker_that_stays_away_ends_the_runs_and_the_next_ones_go_on(
    mortal: Broker, topic: str, calm: dict[str, bytes], tmp_path: Path
) -> None:
    """Stopped in order: status 1 when the patience ends, one mail a run with step and reason, and nothing is lost by it."""
    hosts = hosts_of(mortal, topic, tmp_path)
    with open_post_office() as office:
        runs = [host.start("--collect-only", **office.environment) for host in hosts]
        with held(hosts, runs):
            mortal.stop()
            gone = time.monotonic()
        assert [run.wait(PATIENCE_SECONDS + SLACK_SECONDS) for run in runs] == [1, 1]
        assert time.monotonic() - gone > PATIENCE_SECONDS - 1
        mails = office.read()
    assert len(mails) == len(hosts)
    for subject, text in mails:
        assert "failed at collect" in subject
        assert f"no answer from {mortal.address()} within 60 s, waiting for offset" in text
        assert "the next run continues" in text
    mortal.start()
    for host in hosts:
        assert "Traceback" not in host.said.read_text()
        assert 0 < lines_taken(host) < MANY + MANY // 2
        collected(host, "--collect-only")
        assert tables_of(host) == calm


def test_runs_that_begin_before_the_broker_does_wait_for_it(
    mortal: Broker, topic: str, calm: dict[str, bytes], tmp_path: Path
) -> None:
    """As after a power failure, where all start at once."""
    mortal.kill()
    hosts = hosts_of(mortal, topic, tmp_path)
    runs = [host.start("--collect-only") for host in hosts]
    for host in hosts:
        wait_until(partial(has_begun, host), WAIT_SECONDS)
    mortal.start()
    for host, run in zip(hosts, runs, strict=True):
        assert run.wait(WAIT_SECONDS) == 0, host.said.read_text()
        assert tables_of(host) == calm


def has_begun(host: Checkout) -> bool:
    """Whether a host's run has come to the stream."""
    return host.said.exists() and "step collect" in host.said.read_text()


def test_between_runs_the_broker_may_be_away_start_again_and_get_a_partition(mortal: Broker, tmp_path: Path) -> None:
    """Runs without a broker fail in their time and change nothing; a host that never met it has the same tables."""
    topic = new_name()
    mortal.create_topic(topic)
    mortal.produce(topic, lines_of(3_000, 33))
    hosts = hosts_of(mortal, topic, tmp_path)
    calm = checkout_for(mortal, topic, "confluent-kafka", tmp_path / "calm")
    for host in (*hosts, calm):
        collected(host, "--collect-only")
    mortal.kill()
    runs = [host.start("--collect-only") for host in hosts]
    assert [run.wait(CONNECT_SECONDS + SLACK_SECONDS) for run in runs] == [1, 1]
    for host in hosts:
        assert f"collect: no answer from {mortal.address()} within 15 s" in host.said.read_text()
        assert tables_of(host) == tables_of(calm)
    mortal.start()
    mortal.add_partitions(topic, 2)
    mortal.produce(topic, lines_of(2_000, 34))
    mortal.produce(topic, lines_of(1_000, 35), 1)
    collected(calm, "--collect-only")
    for host in hosts:
        collected(host, "--collect-only")
        assert lines_taken(host) == 6_000
        assert tables_of(host) == tables_of(calm)
