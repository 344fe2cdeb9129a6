"""The Kafka client on librdkafka, through confluent-kafka: C threads prefetch, Python takes messages in batches."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from auto_deployment.common.errors import WrongUseError
from auto_deployment.ingestion.kafka.client import CONNECT_SECONDS, PATIENCE_SECONDS, MessageBatch
from auto_deployment.ingestion.kafka.retry import (
    PAUSE_SECONDS,
    TOPIC_SECONDS,
    Outage,
    check_advertised,
    no_topic,
    not_authenticated,
    not_readable,
    not_trusted,
    out_of_range,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auto_deployment.common.settings import KafkaSettings

    T = TypeVar("T")

log = logging.getLogger(__name__)

# Larger batches are slower: 700 new objects start the garbage collector, and the messages leave the processor's cache.
BATCH = 500
POLL_SECONDS = 0.2
REQUEST_SECONDS = 5.0
CONNECT_TRY_SECONDS = 0.5
# librdkafka begins the names of its own errors with an underscore.
_END_OF_PARTITION, _OUT_OF_RANGE = KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - public names
_NO_LOGIN, _NO_BROKER = KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - public names
_NO_RIGHTS = KafkaError.TOPIC_AUTHORIZATION_FAILED
# The first error only follows other errors that say more. The second concerns the consumer group, which we do not use.
_IGNORED = (_NO_BROKER, KafkaError.GROUP_AUTHORIZATION_FAILED)


class ConfluentClient:
    """See `Client`. For one thread. One `read` at a time is fastest. Aborted transactions are not read."""

    def __init__(self, settings: KafkaSettings, patience: float = PATIENCE_SECONDS, connect: float = CONNECT_SECONDS) -> None:
        """Connects within `connect` seconds. During a later outage the client waits for `patience` seconds.

        Raises StreamError if the broker does not answer or refuses us, WrongUseError if a certificate file cannot be used.
        """
        self._servers = str(settings.kafka_bootstrap_servers)
        self._topic = settings.kafka_topic
        self._patience = patience
        self._outage = Outage(self._servers, patience)
        self._at: tuple[int, int] | None = None
        try:
            self._consumer = Consumer({**consumer_options(settings), "error_cb": self._note}, logger=_DebugLogger())
        except KafkaException as error:
            reason = _error_of(error).str()
            raise WrongUseError(f"KAFKA_SECURITY_CA_FILE, _CERT_FILE or _KEY_FILE cannot be used: {reason}") from error
        try:
            self._connect(connect)
        except BaseException:
            self._consumer.close()
            raise

    def partitions(self) -> list[int]:
        """See `Client`."""
        until = time.monotonic() + TOPIC_SECONDS
        while True:
            found = self._request(lambda limit: self._consumer.list_topics(self._topic, limit)).topics[self._topic]
            if found.error is None and found.partitions:
                return sorted(found.partitions)
            if found.error is not None and found.error.code() == _NO_RIGHTS:
                raise not_readable(self._topic, found.error.str())
            if time.monotonic() > until:
                raise no_topic(self._servers, self._topic)
            time.sleep(PAUSE_SECONDS)

    def first_offsets(self) -> dict[int, int]:
        """See `Client`."""
        return {partition: first for partition, (first, _) in self._bounds().items()}

    def end_offsets(self) -> dict[int, int]:
        """See `Client`. The start of a transaction that is still open counts as the end."""
        return {partition: end for partition, (_, end) in self._bounds().items()}

    def offsets_at(self, milliseconds: int) -> dict[int, int]:
        """See `Client`."""
        ends = self.end_offsets()
        wanted = [TopicPartition(self._topic, partition, max(milliseconds, 0)) for partition in ends]
        found = self._request(lambda limit: self._consumer.offsets_for_times(wanted, limit))
        return {at.partition: ends[at.partition] if at.offset == OFFSET_END else at.offset for at in found}

    def read(self, partition: int, start: int, stop: int) -> Iterator[MessageBatch]:
        """See `Client`. A read that starts where the last one ended uses the prefetched messages."""
        position = start
        self._outage.end()
        while position < stop:
            self._move(partition, position)
            found: list[Any] = self._consumer.consume(min(BATCH, stop - position), POLL_SECONDS)
            messages = [each for each in found if each.error() is None]
            batch = MessageBatch([each.offset() for each in messages], [each.value() or b"" for each in messages])
            after = batch.offsets[-1] + 1 if messages else position
            events = [each for each in found if each.error() is not None] if len(messages) < len(found) else []
            after, failure = self._handle_events(partition, after, events)
            self._at = None if failure else (partition, after)
            batch = batch.before(stop)
            if batch.offsets:
                yield batch
            if failure:
                raise failure
            if after == position:
                self._outage.check(f"offset {position} of partition {partition}")
            else:
                self._outage.end()
            position = after

    def close(self) -> None:
        """See `Client`."""
        self._consumer.close()

    def _connect(self, seconds: float) -> None:
        while (brokers := self._brokers()) is None:
            # Only this call makes the library report its errors.
            self._consumer.poll(0)
            if self._outage.refusal:
                raise self._outage.refusal
            self._outage.wait("a connection", seconds)
        check_advertised(self._servers, brokers)

    def _brokers(self) -> list[tuple[str, int]] | None:
        """The advertised host and port of each broker. None if no broker answers."""
        try:
            found = self._consumer.list_topics(self._topic, CONNECT_TRY_SECONDS).brokers.values()
        except KafkaException:
            return None
        return [(each.host, each.port) for each in found]

    def _bounds(self) -> dict[int, tuple[int, int]]:
        """Each partition's first offset and its end."""
        return {partition: self._request(partial(self._bounds_of, partition)) for partition in self.partitions()}

    def _bounds_of(self, partition: int, limit: float) -> tuple[int, int]:
        found: tuple[int, int] = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), limit)
        return found

    def _request(self, send: Callable[[float], T]) -> T:
        """The result of `send`, which gets its time limit in seconds."""
        self._outage.end()
        while True:
            try:
                return send(min(REQUEST_SECONDS, self._patience))
            except KafkaException as error:
                if _error_of(error).code() == _NO_RIGHTS:
                    raise not_readable(self._topic, _error_of(error).str()) from error
                self._outage.note(_error_of(error).str())
                self._outage.wait("an answer")

    def _move(self, partition: int, position: int) -> None:
        """Move the consumer to `position`, unless it is there already."""
        if self._at != (partition, position):
            self._consumer.assign([TopicPartition(self._topic, partition, position)])

    def _handle_events(self, partition: int, position: int, events: list[Any]) -> tuple[int, Exception | None]:
        """The position of the consumer after `events` that are not messages, and the error that ends the read, if any."""
        for event in events:
            code = event.error().code()
            if code == _END_OF_PARTITION and event.partition() == partition:
                position = max(position, event.offset())
            elif code == _OUT_OF_RANGE:
                return position, out_of_range(self._topic, partition, position, self.first_offsets()[partition])
            elif code == _NO_RIGHTS:
                return position, not_readable(self._topic, event.error().str())
            elif code not in {_END_OF_PARTITION, *_IGNORED}:
                self._outage.note(event.error().str())
        return position, None

    def _note(self, error: KafkaError) -> None:
        """Keep an error of librdkafka's connections. librdkafka calls this inside its other methods."""
        text = error.str()
        if error.code() in _IGNORED:
            return
        self._outage.note(text)
        if error.code() == _NO_LOGIN:
            self._outage.refuse(not_authenticated(self._servers, text))
        elif "SSL" in text and "certificate" in text:
            self._outage.refuse(not_trusted(self._servers, text))


class _DebugLogger:
    """A logger for librdkafka, which calls every lost connection an error. For us it is a detail."""

    def log(self, _level: int, text: str, *words: object) -> None:
        """Log the library's message as a detail."""
        log.debug(text, *words)


def consumer_options(settings: KafkaSettings) -> dict[str, Any]:
    """The library's options. A consumer needs a group, but it never joins the group, and commits nothing."""
    password = settings.kafka_security_password
    files = {
        "ssl.ca.location": settings.kafka_security_ca_file,
        "ssl.certificate.location": settings.kafka_security_cert_file,
        "ssl.key.location": settings.kafka_security_key_file,
    }
    login = {
        "sasl.mechanism": settings.kafka_security_mechanism,
        "sasl.username": settings.kafka_security_user,
        "sasl.password": password.get_secret_value() if password else None,
    }
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": "movierec",
        "group.id": "movierec",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        # By default the library stops fetching for a second whenever its queue is full.
        "fetch.queue.backoff.ms": 10,
        "fetch.wait.max.ms": 100,
        "reconnect.backoff.max.ms": 1_000,
        "socket.timeout.ms": 10_000,
        "security.protocol": settings.kafka_security_protocol or "PLAINTEXT",
        **{name: str(path) for name, path in files.items() if path},
        **{name: value for name, value in login.items() if value is not None},
    }


def _error_of(exception: KafkaException) -> KafkaError:
    error: KafkaError = exception.args[0]
    return error
