"""Both clients on a real broker: they read every message of the requested offsets once, in order, and nothing else."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TopicPartition

from auto_deployment.ingestion.kafka.client import OffsetGoneError, StreamError
from scripts.broker.broker import send
from tests.integration.kafka.conftest import new_name
from tests.integration.kafka.lines import LINES, read_all, wait_for_end

if TYPE_CHECKING:
    from scripts.broker.broker import Broker
    from tests.integration.kafka.conftest import MakeClient

pytestmark = pytest.mark.slow


def test_all_partitions_are_read_from_the_first_offset_to_the_end(broker: Broker, make_client: MakeClient) -> None:
    """Of three partitions, one of them empty, each gives exactly its own messages."""
    topic = new_name()
    broker.create_topic(topic, partitions=3)
    broker.produce(topic, LINES[:2_000], partition=0)
    broker.produce(topic, LINES[2_000:], partition=2)
    client = make_client(topic)
    assert client.partitions() == [0, 1, 2]
    assert client.first_offsets() == {0: 0, 1: 0, 2: 0}
    assert client.end_offsets() == {0: 2_000, 1: 0, 2: 1_000}
    assert read_all(client, 0, 0, 2_000) == LINES[:2_000]
    assert read_all(client, 1, 0, 0) == []
    assert read_all(client, 2, 0, 1_000) == LINES[2_000:]


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 1_700), (1_234, 1_235), (999, 3_000), (2_999, 3_000), (7, 7), (9, 8)])
def test_a_read_keeps_to_its_bounds(lasting_topic: str, make_client: MakeClient, start: int, stop: int) -> None:
    """From `start` on, and ending before `stop`, with the offsets that the broker gave."""
    found = [message for batch in make_client(lasting_topic).read(0, start, stop) for message in zip(*batch, strict=True)]
    assert found == [(offset, LINES[offset]) for offset in range(start, stop)]


def test_no_batch_is_empty(lasting_topic: str, make_client: MakeClient) -> None:
    """Whoever takes a batch finds a message in it."""
    assert all(batch.offsets for batch in make_client(lasting_topic).read(0, 10, 2_990))


def test_reads_one_after_the_other_miss_and_repeat_nothing(broker: Broker, make_client: MakeClient) -> None:
    """Two partitions in turn, a block at a time, as collection reads them."""
    topic = new_name()
    broker.create_topic(topic, partitions=2)
    broker.produce(topic, LINES, partition=0)
    broker.produce(topic, reversed(LINES), partition=1)
    client = make_client(topic)
    found: list[list[bytes]] = [[], []]
    for start in range(0, 3_000, 300):
        for partition in (0, 1):
            found[partition] += read_all(client, partition, start, start + 150)
            found[partition] += read_all(client, partition, start + 150, start + 300)
    assert found == [LINES, LINES[::-1]]


def test_two_reads_at_once_do_not_mix(broker: Broker, make_client: MakeClient) -> None:
    """Each read continues at its own position, whatever the other read did."""
    topic = new_name()
    broker.create_topic(topic, partitions=2)
    broker.produce(topic, LINES, partition=0)
    broker.produce(topic, reversed(LINES), partition=1)
    client = make_client(topic)
    both = zip(client.read(0, 0, 3_000), client.read(1, 0, 3_000), strict=False)
    for first, second in both:
        assert first.values == LINES[first.offsets[0] : first.offsets[-1] + 1]
        assert second.values == LINES[::-1][second.offsets[0] : second.offsets[-1] + 1]


def test_a_read_that_was_broken_off_can_be_taken_up_again(lasting_topic: str, make_client: MakeClient) -> None:
    """From any offset, also one that the broken-off read had given already."""
    client = make_client(lasting_topic)
    reading = client.read(0, 0, 3_000)
    begun = next(reading)
    del reading
    again = len(begun.offsets) // 2
    assert read_all(client, 0, again, 3_000) == LINES[again:]
    assert read_all(client, 0, 0, 3_000) == LINES


def test_messages_that_come_after_the_opening_are_read(broker: Broker, topic: str, make_client: MakeClient) -> None:
    """The end moves, and a read ends at its own stop."""
    client = make_client(topic)
    assert client.end_offsets() == {0: 0}
    broker.produce(topic, LINES[:100])
    assert read_all(client, 0, 0, client.end_offsets()[0]) == LINES[:100]
    broker.produce(topic, LINES[100:200])
    assert read_all(client, 0, 100, client.end_offsets()[0]) == LINES[100:200]


def test_a_partition_that_is_added_later_is_seen(broker: Broker, topic: str, make_client: MakeClient) -> None:
    """By a client that has been open since before."""
    client = make_client(topic)
    assert client.partitions() == [0]
    broker.add_partitions(topic, 2)
    broker.produce(topic, LINES[:100], partition=1)
    assert client.partitions() == [0, 1]
    assert client.end_offsets() == {0: 0, 1: 100}
    assert read_all(client, 1, 0, 100) == LINES[:100]


def test_an_offset_that_retention_removed_is_named(broker: Broker, topic: str, make_client: MakeClient) -> None:
    """And the partition can still be read from its first offset on."""
    broker.produce(topic, LINES)
    client = make_client(topic)
    broker.delete_records(topic, 0, before=1_000)
    with pytest.raises(OffsetGoneError) as caught:
        read_all(client, 0, 999, 3_000)
    assert (caught.value.partition, caught.value.offset) == (0, 999)
    assert client.first_offsets() == {0: 1_000}
    assert read_all(client, 0, 1_000, 3_000) == LINES[1_000:]


def test_a_partition_of_which_retention_removed_all_ends_where_it_begins(
    broker: Broker, topic: str, make_client: MakeClient
) -> None:
    """Its first offset is its end, and an offset before is gone."""
    broker.produce(topic, LINES[:10])
    broker.delete_records(topic, 0, before=10)
    client = make_client(topic)
    assert client.first_offsets() == client.end_offsets() == {0: 10}
    assert read_all(client, 0, 10, 10) == []
    with pytest.raises(OffsetGoneError):
        read_all(client, 0, 0, 10)


def test_an_offset_beyond_the_end_is_an_error(lasting_topic: str, make_client: MakeClient) -> None:
    """Marks of a topic that was since made anew do not fit it."""
    with pytest.raises(StreamError, match="partition 0 ends before offset 3001: was the topic made anew"):
        read_all(make_client(lasting_topic), 0, 3_001, 3_002)


def test_a_read_of_what_is_not_there_yet_gives_up(broker: Broker, topic: str, make_client: MakeClient) -> None:
    """After its patience, having given what there was."""
    broker.produce(topic, LINES[:10])
    reading = make_client(topic, patience=0.5).read(0, 0, 11)
    assert next(reading).offsets == list(range(10))
    with pytest.raises(StreamError, match=r"within 0\.5 s, waiting for offset 10 of partition 0"):
        next(reading)


def test_an_offset_is_found_by_its_time(broker: Broker, make_client: MakeClient) -> None:
    """The first at or after it, the end where all are before it; a partition without messages has its end."""
    topic = new_name()
    broker.create_topic(topic, partitions=2, configs={"retention.ms": "-1"})
    producer = broker.producer()
    for milliseconds in (1_000, 2_000, 3_000):
        producer.produce(topic, b"line", partition=0, timestamp=milliseconds)
    assert producer.flush(30) == 0
    client = make_client(topic)
    times = (-5, 0, 1_000, 1_001, 3_000, 3_001)
    assert [client.offsets_at(each) for each in times] == [{0: offset, 1: 0} for offset in (0, 0, 0, 1, 2, 3)]


def test_values_come_as_the_bytes_they_are(broker: Broker, topic: str, make_client: MakeClient) -> None:
    """No UTF-8, line ends, zeros and a long one are left alone; a message without a value has no bytes."""
    values = [b"\xff\xfe\x00line", None, b"", b"a\nb\r\n", b"\xc3", bytes(900_000), b"last"]
    broker.produce(topic, values)
    assert read_all(make_client(topic), 0, 0, 7) == [value or b"" for value in values]


def test_offsets_without_a_message_at_the_end_are_passed(broker: Broker, make_client: MakeClient) -> None:
    """Compaction took all messages before the last: a read that stops before it ends, with nothing."""
    topic = new_name()
    broker.create_topic(topic, configs={"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"})
    broker.produce(topic, LINES[:100], key=b"key")
    client = make_client(topic)
    until = time.monotonic() + 20
    kept = LINES[:100]
    while kept:
        assert time.monotonic() < until, "the broker does not compact"
        time.sleep(0.15)
        broker.produce(topic, [b"newer"], key=b"key")
        kept = read_all(client, 0, 0, 100)
    end = client.end_offsets()[0]
    assert read_all(client, 0, 0, end)[-1] == b"newer"


def test_aborted_transactions_leave_no_message(broker: Broker, topic: str, make_client: MakeClient) -> None:
    """What was committed is read, what was aborted is not, and the markers of both are passed, also at the very end."""
    producer = broker.producer(**{"transactional.id": topic})
    producer.init_transactions(30)
    for at, commit in enumerate((True, False, True, False)):
        producer.begin_transaction()
        send(producer, topic, LINES[at * 10 : at * 10 + 10])
        producer.flush(30)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    client = make_client(topic)
    wait_for_end(client, 44)
    assert read_all(client, 0, 0, 44) == LINES[0:10] + LINES[20:30]
    assert read_all(client, 0, 33, 44) == []
    assert read_all(client, 0, 10, 22) == []


def test_a_read_that_goes_on_passes_offsets_without_a_message(broker: Broker, topic: str, make_client: MakeClient) -> None:
    """A read to the end, then only an aborted transaction: the next read ends at once and gives nothing."""
    broker.produce(topic, LINES[:10])
    client = make_client(topic)
    assert read_all(client, 0, 0, 10) == LINES[:10]
    producer = broker.producer(**{"transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    send(producer, topic, LINES[:5])
    producer.flush(30)
    producer.abort_transaction(30)
    wait_for_end(client, 16)
    assert read_all(client, 0, 10, 16) == []
    broker.produce(topic, LINES[10:20])
    assert read_all(client, 0, 16, 26) == LINES[10:20]


def test_nothing_is_committed(broker: Broker, lasting_topic: str, make_client: MakeClient) -> None:
    """The broker keeps no offset of ours."""
    client = make_client(lasting_topic)
    assert len(read_all(client, 0, 0, 3_000)) == 3_000
    client.close()
    assert broker.committed("movierec", TopicPartition(lasting_topic, 0)) is None


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
def test_a_compressed_stream_is_read_or_the_library_that_can_is_named(
    broker: Broker, topic: str, make_client: MakeClient, library: str, codec: str
) -> None:
    """kafka-python knows gzip by itself, and the others where their packages are."""
    producer = broker.producer(**{"compression.type": codec})
    send(producer, topic, LINES)
    assert producer.flush(30) == 0
    client = make_client(topic)
    if library == "confluent-kafka" or getattr(importlib.import_module("kafka.codec"), f"has_{codec}")():
        assert read_all(client, 0, 0, 3_000) == LINES
    else:
        with pytest.raises(StreamError, match=f"{codec}.*KAFKA_CLIENT=confluent-kafka"):
            read_all(client, 0, 0, 3_000)
