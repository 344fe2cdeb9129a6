"""`bench collect` and `append`: from a real broker into the tables, compared with a bare consume loop of the same client."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Place
from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]

from app.events import DEFAULT_RULES
from app.fresh import topic
from auto_deployment.ingestion.collector import Collector
from auto_deployment.ingestion.kafka import confluent_client
from auto_deployment.ingestion.kafka.client import MessageBatch
from auto_deployment.ingestion.kafka.client_factory import open_client
from auto_deployment.ingestion.rows import BlockRows, Counts
from auto_deployment.ingestion.sources import TopicSource
from auto_deployment.ingestion.tables import RATING_HEADER, Tables
from scripts.broker.broker import Broker
from scripts.broker.jars import kafka_libs
from tests.bench.measure import Row, interleaved, processor_seconds, row
from tests.integration.kafka.lines import TOPIC_OF_LINES, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample" / "movielog.log"
LINES = 300_000
PAIRS = 5
BARE_SHARE = 0.7
CLIENTS_RATIO = 3.0
MEMORY_RATIO = 1.2
APPEND_RATIO = 1.5
APPENDED = 1_000
SMALL, LARGE = 1_000, 10_000_000


def run() -> list[Row]:
    """From Kafka into the tables, with both clients, and the memory that ten times the lines take."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with _broker(folder) as broker:
            ours = {each: _seconds(partial(_collect, broker, each, folder)) for each in BARE}
            bare = {each: _seconds(partial(loop, broker)) for each, loop in BARE.items()}
            pairs = {each: interleaved(ours[each], bare[each], PAIRS) for each in BARE}
            both = interleaved(ours["confluent-kafka"], ours["kafka-python"], PAIRS)
    return [
        *_rates("kafka-python, of a bare loop", pairs["kafka-python"], BARE_SHARE),
        *_rates("confluent-kafka, of a bare loop", pairs["confluent-kafka"], None),
        *_rates("confluent-kafka, of kafka-python", both, CLIENTS_RATIO),
        row("collect", "memory of 10 million lines", [(_memory(10), _memory(1))], "lower", MEMORY_RATIO, "MiB"),
    ]


def _rates(measure: str, pairs: list[tuple[Seconds, Seconds]], goal: float | None) -> list[Row]:
    """Lines per second of processor time, which the goal is about, and of the clock, which others on the machine swing."""
    by_processor = [(LINES / ours.processor, LINES / other.processor) for ours, other in pairs]
    by_clock = [(LINES / ours.clock, LINES / other.clock) for ours, other in pairs]
    return [
        row("collect", measure, by_processor, "higher", goal, "lines/s"),
        row("collect", f"{measure}, by the clock", by_clock, "higher", None, "lines/s"),
    ]


def append() -> list[Row]:
    """A thousand new rows onto ten million, against the same onto a thousand; the append alone, until it is on the disk."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        large, small = (_table(Path(name) / str(rows), rows) for rows in (LARGE, SMALL))
        rows = BlockRows([f"{user},a+film+1999,4,2026-01-05T08:00:00" for user in range(APPENDED)], [], [], [], Counts())
        pairs = interleaved(lambda: _append(large, rows), lambda: _append(small, rows), 15)
    return [row("append", "1,000 rows onto 10 million", pairs, "lower", APPEND_RATIO, "us")]


def _append(tables: Tables, rows: BlockRows) -> float:
    """Processor time, in microseconds: what the disk takes for its part is the same for both and swings."""
    return min(processor_seconds(lambda: tables.append(rows)) for _ in range(3)) * 1e6


def _table(folder: Path, rows: int) -> Tables:
    tables = Tables(folder)
    folder.mkdir()
    block = "".join(f"{user},the+film+number+{user % 97}+1999,4,2026-01-05T08:00:00\n" for user in range(1_000)).encode()
    with tables.ratings.open("wb") as file:
        file.write(RATING_HEADER.encode() + b"\n")
        for _ in range(rows // 1_000):
            file.write(block)
    return tables


@contextmanager
def _broker(folder: Path) -> Iterator[Broker]:
    broker = Broker(folder / "kafka", kafka_libs())
    try:
        broker.start()
        broker.create_topic(TOPIC_OF_LINES)
        lines = [line for line in SAMPLE.read_bytes().splitlines() if b"/data/m/" in line]
        broker.produce(TOPIC_OF_LINES, (lines * (LINES // len(lines) + 1))[:LINES])
        yield broker
    finally:
        broker.kill()


class Seconds(NamedTuple):
    """What reading all lines took: processor time of all threads, and by the clock."""

    processor: float
    clock: float


def _seconds(read: Callable[[], None]) -> Callable[[], Seconds]:
    def measure() -> Seconds:
        begun = time.perf_counter()
        processor = processor_seconds(read)
        return Seconds(processor, time.perf_counter() - begun)

    return measure


def _collect(broker: Broker, library: str, folder: Path) -> None:
    """All of the topic into new tables."""
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    collector = Collector(Tables(data), data / "collected.json", DEFAULT_RULES)
    with closing(open_client(settings_for(broker, library))) as client:
        for _ in collector.collect(TopicSource(client, TOPIC_OF_LINES), lambda: True):
            pass
    assert collector.state.counts.lines == LINES


def _bare_kafka_python(broker: Broker) -> None:
    consumer = KafkaConsumer(**topic.consumer_options(settings_for(broker, "kafka-python")))
    where = TopicPartition(TOPIC_OF_LINES, 0)
    consumer.assign([where])
    consumer.seek(where, 0)
    read = 0
    while read < LINES:
        for records in consumer.poll(timeout_ms=200).values():
            read += len([record.value for record in records])
    consumer.close()


def _bare_confluent(broker: Broker) -> None:
    consumer = Consumer(confluent_client.consumer_options(settings_for(broker, "confluent-kafka")))
    consumer.assign([Place(TOPIC_OF_LINES, 0, 0)])
    read = 0
    while read < LINES:
        messages = consumer.consume(min(10_000, LINES - read), 0.2)
        read += len([message.value() for message in messages if not message.error()])
    consumer.close()


BARE: dict[str, Callable[[Broker], None]] = {"kafka-python": _bare_kafka_python, "confluent-kafka": _bare_confluent}


def _memory(millions: int) -> float:
    """The most memory, in MiB, that collecting so many million lines takes a process of its own."""
    command = [sys.executable, "-m", "tests.bench.collect", str(millions)]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


_LINE = b"2026-01-05T08:00:00,%d,GET /data/m/film+%d+1999/1.mpg"


class _MadeUp:
    """A topic of watches, made as they are read: a hundred lines for each pair of user and film."""

    def __init__(self, lines: int) -> None:
        self._lines = lines

    def partitions(self) -> list[int]:
        return [0]

    def first_offsets(self) -> dict[int, int]:
        return {0: 0}

    def end_offsets(self) -> dict[int, int]:
        return {0: self._lines}

    def offsets_at(self, milliseconds: int) -> dict[int, int]:  # noqa: ARG002 - the interface
        return {0: 0}

    def read(self, partition: int, start: int, stop: int) -> Iterator[MessageBatch]:  # noqa: ARG002 - the interface
        pairs = self._lines // 100
        for first in range(start, stop, 10_000):
            offsets = list(range(first, min(first + 10_000, stop)))
            yield MessageBatch(offsets, [_LINE % (at % pairs, at % pairs % 977) for at in offsets])

    def close(self) -> None:
        pass


def _collect_made_up(millions: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        client: Any = _MadeUp(millions * 1_000_000)
        collector = Collector(Tables(Path(name)), Path(name) / "collected.json", DEFAULT_RULES)
        for _ in collector.collect(TopicSource(client, "made-up"), lambda: True):
            pass
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}\n")


if __name__ == "__main__":
    _collect_made_up(int(sys.argv[1]))
