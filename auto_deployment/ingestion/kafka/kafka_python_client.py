"""The Kafka client on kafka-python: pure Python, in our thread and one thread of the library."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    RetriableError,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
)
from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]
from kafka.net.selector import NetworkSelector  # type: ignore[import-untyped]

from app.fresh.topic import consumer_options
from auto_deployment.common.errors import WrongUseError
from auto_deployment.ingestion.kafka.client import CONNECT_SECONDS, PATIENCE_SECONDS, MessageBatch, StreamError
from auto_deployment.ingestion.kafka.kafka_python_network import ReportingConnections, redirect_library_logs
from auto_deployment.ingestion.kafka.retry import (
    PAUSE_SECONDS,
    TOPIC_SECONDS,
    Outage,
    check_advertised,
    no_codec,
    no_topic,
    not_readable,
    out_of_range,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auto_deployment.common.settings import KafkaSettings

    T = TypeVar("T")

# Larger batches are slower: 700 new objects start the garbage collector, and the messages leave the processor's cache.
BATCH = 500
POLL_MS = 200
REFRESH_MS = 3_000
CLOSE_MS = 2_000


class KafkaPythonClient:
    """See `Client`. For one thread. One `read` at a time is fastest. Aborted transactions are not read."""

    def __init__(self, settings: KafkaSettings, patience: float = PATIENCE_SECONDS, connect: float = CONNECT_SECONDS) -> None:
        """Connects within `connect` seconds. During a later outage the client waits for `patience` seconds.

        Raises StreamError if the broker does not answer or refuses us, WrongUseError if a certificate file cannot be used.
        """
        redirect_library_logs()
        self._servers = str(settings.kafka_bootstrap_servers)
        self._topic = settings.kafka_topic
        self._patience = patience
        self._outage = Outage(self._servers, patience)
        self._at: tuple[int, int] | None = None
        self._network: KafkaNetClient | None = None
        try:
            options = {**consumer_options(settings), "bootstrap_timeout_ms": int(connect * 1000)}
        except OSError as error:
            raise WrongUseError(str(error)) from error
        try:
            self._consumer = KafkaConsumer(**options, kafka_client=self._make_network)
        except BaseException as error:
            self._abandon_network()
            if isinstance(error, KafkaTimeoutError):
                raise self._outage.failure(connect, "a connection") from error
            raise
        try:
            check_advertised(self._servers, ((each.host, each.port) for each in self._connections.cluster.brokers()))
        except StreamError:
            self.close()
            raise
        self._connections.cluster.set_topics([self._topic])
        self._connections.is_open = True

    def partitions(self) -> list[int]:
        """See `Client`."""
        self._outage.end()
        until = time.monotonic() + TOPIC_SECONDS
        while True:
            if not self._is_up_to_date():
                self._outage.check("an answer")
            elif found := self._connections.cluster.partitions_for_topic(self._topic):
                return sorted(found)
            elif time.monotonic() > until:
                raise no_topic(self._servers, self._topic)
            time.sleep(PAUSE_SECONDS)

    def first_offsets(self) -> dict[int, int]:
        """See `Client`."""
        wanted = self._all()
        return _by_partition(self._request(lambda limit: self._consumer.beginning_offsets(wanted, timeout_ms=limit)))

    def end_offsets(self) -> dict[int, int]:
        """See `Client`. The start of a transaction that is still open counts as the end."""
        wanted = self._all()
        return _by_partition(self._request(lambda limit: self._consumer.end_offsets(wanted, timeout_ms=limit)))

    def offsets_at(self, milliseconds: int) -> dict[int, int]:
        """See `Client`."""
        ends = self.end_offsets()
        wanted = {TopicPartition(self._topic, partition): max(milliseconds, 0) for partition in ends}
        found = self._request(lambda limit: self._consumer.offsets_for_times(wanted, timeout_ms=limit))
        return {where.partition: at.offset if at else ends[where.partition] for where, at in found.items()}

    def read(self, partition: int, start: int, stop: int) -> Iterator[MessageBatch]:
        """See `Client`. A read that starts where the last one ended uses the prefetched messages."""
        position = start
        self._outage.end()
        while position < stop:
            self._move(partition, position)
            records, after = self._poll(partition, position, min(BATCH, stop - position))
            if after == position:
                self._outage.check(f"offset {position} of partition {partition}")
                continue
            self._outage.end()
            self._at, position = (partition, after), after
            batch = MessageBatch([each.offset for each in records], [each.value or b"" for each in records]).before(stop)
            if batch.offsets:
                yield batch

    def close(self) -> None:
        """See `Client`."""
        self._consumer.close(autocommit=False, timeout_ms=CLOSE_MS)

    def _make_network(self, **options: object) -> KafkaNetClient:
        """The library's network, with connections that report why they fail."""
        net = NetworkSelector(**options)
        self._connections = ReportingConnections(net, self._outage, self._servers, **options)
        self._network = KafkaNetClient(net, self._connections, **options)
        return self._network

    def _abandon_network(self) -> None:
        """End the network thread after the consumer's constructor failed."""
        if self._network is not None:
            self._network.close()

    def _is_up_to_date(self) -> bool:
        """Whether the broker has just listed its topics and partitions."""
        try:
            self._consumer.bootstrap(timeout_ms=min(REFRESH_MS, int(self._patience * 1000)), refresh=True)
        except KafkaError as error:
            if self._topic in self._connections.cluster.unauthorized_topics:
                raise not_readable(self._topic, TopicAuthorizationFailedError.__name__) from error
            if not isinstance(error, RetriableError):
                raise not_readable(self._topic, str(error)) from error
            return False
        return True

    def _all(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in self.partitions()]

    def _request(self, send: Callable[[int], T]) -> T:
        """The result of `send`, which gets its time limit in milliseconds."""
        try:
            return send(int(self._patience * 1000))
        except RetriableError as error:
            raise self._outage.failure(self._patience, "an answer") from error
        except KafkaError as error:
            raise not_readable(self._topic, str(error)) from error

    def _move(self, partition: int, position: int) -> None:
        """Move the consumer to `position`, unless it is there already."""
        if self._at != (partition, position):
            where = TopicPartition(self._topic, partition)
            self._consumer.assign([where])
            self._consumer.seek(where, position)
            self._at = (partition, position)

    def _poll(self, partition: int, position: int, most: int) -> tuple[list[Any], int]:
        """At most `most` messages, and the position of the consumer after them."""
        where = TopicPartition(self._topic, partition)
        try:
            records: list[Any] = self._consumer.poll(timeout_ms=POLL_MS, max_records=most).get(where, [])
            if records:
                return records, records[-1].offset + 1
            return [], self._consumer.position(where, timeout_ms=0) or position
        except OffsetOutOfRangeError as error:
            self._at = None
            raise out_of_range(self._topic, partition, position, self.first_offsets()[partition]) from error
        except UnsupportedCodecError as error:
            raise no_codec(self._topic, str(error)) from error
        except RetriableError as error:
            self._outage.note(str(error))
            time.sleep(PAUSE_SECONDS)
            return [], position
        except KafkaError as error:
            raise not_readable(self._topic, str(error)) from error


def _by_partition(offsets: dict[Any, int]) -> dict[int, int]:
    return {where.partition: offset for where, offset in offsets.items()}
