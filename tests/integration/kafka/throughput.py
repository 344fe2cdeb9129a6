"""How fast lines are read: each library's bare loop beside our client, by turns on the same messages.

`scripts/dev python -m tests.integration.kafka.throughput` starts a broker, measures and prints a line a reader.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Place
from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]

from auto_deployment.kafka import confluent, kafka_python
from auto_deployment.kafka.opening import open_client
from tests.integration.kafka.broker import Broker
from tests.integration.kafka.jars import kafka_libs
from tests.integration.kafka.lines import TOPIC_OF_LINES, settings_for, stream_lines

if TYPE_CHECKING:
    from collections.abc import Callable

LINES = 300_000
ROUNDS = 3


def measure(broker: Broker, lines: int = LINES, rounds: int = ROUNDS) -> dict[str, float]:
    """Lines a second of every reader, the median of its rounds."""
    broker.create_topic(TOPIC_OF_LINES)
    broker.produce(TOPIC_OF_LINES, stream_lines(lines))
    readers: dict[str, Callable[[], None]] = {
        "kafka-python, bare, its defaults": lambda: _kafka_python(lines, {"bootstrap_servers": broker.address()}),
        "kafka-python, bare, our options": lambda: _kafka_python(lines, _options(broker, "kafka-python")),
        "kafka-python, our client": lambda: _ours(broker, "kafka-python", lines),
        "confluent-kafka, bare, its defaults": lambda: _confluent(
            lines, {"bootstrap.servers": broker.address(), "group.id": "bare"}
        ),
        "confluent-kafka, bare, our options": lambda: _confluent(lines, _options(broker, "confluent-kafka")),
        "confluent-kafka, our client": lambda: _ours(broker, "confluent-kafka", lines),
    }
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, read in readers.items():
            start = time.perf_counter()
            read()
            seconds[name].append(time.perf_counter() - start)
    return {name: lines / statistics.median(taken) for name, taken in seconds.items()}


def _options(broker: Broker, client: str) -> dict[str, Any]:
    settings = settings_for(broker, client)
    return kafka_python.consumer_options(settings) if client == "kafka-python" else confluent.consumer_options(settings)


def _kafka_python(lines: int, options: dict[str, Any]) -> None:
    consumer = KafkaConsumer(**options)
    where = TopicPartition(TOPIC_OF_LINES, 0)
    consumer.assign([where])
    consumer.seek(where, 0)
    read = 0
    while read < lines:
        for records in consumer.poll(timeout_ms=200).values():
            read += len([record.value for record in records])
    consumer.close()


def _confluent(lines: int, options: dict[str, Any]) -> None:
    consumer = Consumer(options)
    consumer.assign([Place(TOPIC_OF_LINES, 0, 0)])
    read = 0
    while read < lines:
        read += len([message.value() for message in consumer.consume(min(10_000, lines - read), 0.2) if not message.error()])
    consumer.close()


def _ours(broker: Broker, name: str, lines: int) -> None:
    client = open_client(settings_for(broker, name))
    assert sum(len(batch) for batch in client.read(0, 0, lines)) == lines
    client.close()


def main() -> None:
    """Measure on a broker of its own, and print."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder), kafka_libs())
        broker.start()
        try:
            for name, rate in measure(broker).items():
                print(f"{name:40} {rate:>12,.0f} lines/s")
        finally:
            broker.kill()


if __name__ == "__main__":
    main()
