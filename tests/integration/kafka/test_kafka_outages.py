"""What both clients do when the broker dies, hangs or was never there."""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from auto_deployment.ingestion.kafka.client import StreamError
from scripts.broker.broker import UNKNOWN
from tests.integration.kafka.conftest import new_name
from tests.integration.kafka.lines import read_all, stream_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.broker.broker import Broker
    from tests.integration.kafka.conftest import MakeClient

pytestmark = pytest.mark.slow

LINES = list(stream_lines(40_000))


def in_the_background(work: Callable[[], None]) -> Thread:
    """A thread that is at work."""
    thread = Thread(target=work)
    thread.start()
    return thread


def test_a_read_goes_on_after_the_broker_was_killed(mortal: Broker, topic: str, make_client: MakeClient) -> None:
    """With -9 in the midst of it: once the broker is back nothing is missing and nothing comes twice."""
    mortal.produce(topic, LINES[:30_000])
    reading = make_client(topic).read(0, 0, 40_000)
    found = list(next(reading).values)
    mortal.kill()
    mortal.launch()

    def go_on() -> None:
        mortal.wait()
        mortal.produce(topic, LINES[30_000:])

    going_on = in_the_background(go_on)
    found += [value for batch in reading for value in batch.values]
    going_on.join()
    assert found == LINES


def test_a_dead_broker_is_waited_for_as_long_as_patience_lasts(
    mortal: Broker, topic: str, make_client: MakeClient, capfd: pytest.CaptureFixture[str]
) -> None:
    """One client gives up, by an error that names the broker and nothing on the console; a patient one gets its answer."""
    mortal.produce(topic, LINES)
    patient, hasty = make_client(topic), make_client(topic, patience=1.0)
    reading = hasty.read(0, 0, 50_000)
    next(reading)
    mortal.kill()
    start = time.monotonic()
    with pytest.raises(StreamError, match=f"no answer from {mortal.address()} within 1 s, waiting for offset"):
        list(reading)
    with pytest.raises(StreamError, match=f"no answer from {mortal.address()} within 1 s, waiting for an answer"):
        hasty.end_offsets()
    hasty.close()
    assert time.monotonic() - start < 8
    mortal.launch()
    assert patient.end_offsets() == {0: 40_000}
    assert (patient.partitions(), patient.first_offsets(), patient.offsets_at(0)) == ([0], {0: 0}, {0: 0})
    assert capfd.readouterr() == ("", "")


def test_a_broker_that_hangs_is_one_that_is_away(mortal: Broker, topic: str, make_client: MakeClient) -> None:
    """Its connections stay open without data: the client's patience ends. After the pause the client reads on."""
    mortal.produce(topic, LINES[:10])
    client = make_client(topic, patience=1.0)
    mortal.freeze()
    with pytest.raises(StreamError, match=f"no answer from {mortal.address()}"):
        read_all(client, 0, 0, 10)
    with pytest.raises(StreamError, match=f"no answer from {mortal.address()}"):
        client.partitions()
    mortal.thaw()
    patient = make_client(topic)
    assert read_all(patient, 0, 0, 10) == LINES[:10]


def test_a_topic_that_does_not_exist_is_named_and_not_made(broker: Broker, make_client: MakeClient) -> None:
    """Although this broker makes a topic for everybody who does not say otherwise."""
    topic = new_name()
    with pytest.raises(StreamError, match=f"has no topic {topic}: set KAFKA_TOPIC"):
        make_client(topic).partitions()
    assert topic not in broker.topics()


def test_an_advertised_host_that_nobody_can_look_up_is_named(broker: Broker, make_client: MakeClient) -> None:
    """The broker answers at the address that is set; what it advertises is the fault. This is known within 15 s."""
    start = time.monotonic()
    with pytest.raises(StreamError, match=r"advertise: broker\.internal\.example:9092 .*advertised\.listeners") as caught:
        make_client(new_name(), at=UNKNOWN)
    assert time.monotonic() - start < 15
    assert str(caught.value).startswith(f"{broker.address(UNKNOWN)} answers")
