"""The broker's client on librdkafka, through confluent-kafka: C threads fetch ahead, Python takes messages in batches."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from auto_deployment.common.errors import WrongUseError
from auto_deployment.ingestion.kafka.client import Batch
from auto_deployment.ingestion.kafka.retry import (
    CONNECT_SECONDS,
    PATIENCE_SECONDS,
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

    from auto_deployment.common.settings import Settings

    T = TypeVar("T")

log = logging.getLogger(__name__)

# Larger ones are slower: 700 new objects start the garbage collector, and what was read leaves the processor's cache.
BATCH = 500
POLL_SECONDS = 0.2
ASK_SECONDS = 5.0
KNOCK_SECONDS = 0.5
# The names of librdkafka's own errors begin so.
_PASSED, _OUT_OF_RANGE = KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - public names
_NO_LOGIN, _NO_BROKER = KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - public names
_NO_RIGHTS = KafkaError.TOPIC_AUTHORIZATION_FAILED
# The one follows from errors that say more, the other is about the group, of which nothing is wanted.
_NO_NEWS = (_NO_BROKER, KafkaError.GROUP_AUTHORIZATION_FAILED)


class ConfluentClient:
    """See `Client`. One thread uses it, one `read` at a time goes on fastest; aborted transactions are not read."""

    def __init__(self, settings: Settings, patience: float = PATIENCE_SECONDS, connect: float = CONNECT_SECONDS) -> None:
        """Connects within `connect` seconds; an outage later on is waited out for `patience` seconds.

        Raises StreamError where the broker is away or refuses, WrongUseError where a file of certificates cannot be used.
        """
        self._servers = str(settings.kafka_bootstrap_servers)
        self._topic = settings.kafka_topic
        self._patience = patience
        self._outage = Outage(self._servers, patience)
        self._at: tuple[int, int] | None = None
        try:
            self._consumer = Consumer({**consumer_options(settings), "error_cb": self._note}, logger=_Details())
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
            found = self._ask(lambda limit: self._consumer.list_topics(self._topic, limit)).topics[self._topic]
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
        """See `Client`. Where a transaction is open, the offset at which it began."""
        return {partition: end for partition, (_, end) in self._bounds().items()}

    def offsets_at(self, milliseconds: int) -> dict[int, int]:
        """See `Client`."""
        ends = self.end_offsets()
        wanted = [TopicPartition(self._topic, partition, max(milliseconds, 0)) for partition in ends]
        found = self._ask(lambda limit: self._consumer.offsets_for_times(wanted, limit))
        return {at.partition: ends[at.partition] if at.offset == OFFSET_END else at.offset for at in found}

    def read(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """See `Client`. A read that goes on where the last one ended uses what was fetched ahead."""
        position = start
        self._outage.end()
        while position < stop:
            self._move(partition, position)
            found: list[Any] = self._consumer.consume(min(BATCH, stop - position), POLL_SECONDS)
            messages = [each for each in found if each.error() is None]
            batch = Batch([each.offset() for each in messages], [each.value() or b"" for each in messages])
            after = batch.offsets[-1] + 1 if messages else position
            events = [each for each in found if each.error() is not None] if len(messages) < len(found) else []
            after, failure = self._judge(partition, after, events)
            self._at = None if failure else (partition, after)
            batch = batch.before(stop)
            if batch.offsets:
                yield batch
            if failure:
                raise failure
            if after == position:
                self._outage.go_on(f"offset {position} of partition {partition}")
            else:
                self._outage.end()
            position = after

    def close(self) -> None:
        """See `Client`."""
        self._consumer.close()

    def _connect(self, seconds: float) -> None:
        while (brokers := self._brokers()) is None:
            # Without a call like this one the library keeps its reasons to itself.
            self._consumer.poll(0)
            if self._outage.refusal:
                raise self._outage.refusal
            self._outage.wait("a connection", seconds)
        check_advertised(self._servers, brokers)

    def _brokers(self) -> list[tuple[str, int]] | None:
        """Host and port that each broker advertises; None when no broker answers."""
        try:
            found = self._consumer.list_topics(self._topic, KNOCK_SECONDS).brokers.values()
        except KafkaException:
            return None
        return [(each.host, each.port) for each in found]

    def _bounds(self) -> dict[int, tuple[int, int]]:
        """Each partition's first offset and its end."""
        return {partition: self._ask(partial(self._bounds_of, partition)) for partition in self.partitions()}

    def _bounds_of(self, partition: int, limit: float) -> tuple[int, int]:
        found: tuple[int, int] = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), limit)
        return found

    def _ask(self, question: Callable[[float], T]) -> T:
        """The answer to a question that is given its limit in seconds."""
        self._outage.end()
        while True:
            try:
                return question(min(ASK_SECONDS, self._patience))
            except KafkaException as error:
                if _error_of(error).code() == _NO_RIGHTS:
                    raise not_readable(self._topic, _error_of(error).str()) from error
                self._outage.note(_error_of(error).str())
                self._outage.wait("an answer")

    def _move(self, partition: int, position: int) -> None:
        """Read on from `position`, unless that is where the consumer stands anyway."""
        if self._at != (partition, position):
            self._consumer.assign([TopicPartition(self._topic, partition, position)])

    def _judge(self, partition: int, position: int, events: list[Any]) -> tuple[int, Exception | None]:
        """Where the consumer stands after what came in place of messages, and what ends the reading, if anything does."""
        for event in events:
            code = event.error().code()
            if code == _PASSED and event.partition() == partition:
                position = max(position, event.offset())
            elif code == _OUT_OF_RANGE:
                return position, out_of_range(self._topic, partition, position, self.first_offsets()[partition])
            elif code == _NO_RIGHTS:
                return position, not_readable(self._topic, event.error().str())
            elif code not in {_PASSED, *_NO_NEWS}:
                self._outage.note(event.error().str())
        return position, None

    def _note(self, error: KafkaError) -> None:
        """Keep what librdkafka says of its connections; it calls this from within its other methods."""
        text = error.str()
        if error.code() in _NO_NEWS:
            return
        self._outage.note(text)
        if error.code() == _NO_LOGIN:
            self._outage.refuse(not_authenticated(self._servers, text))
        elif "SSL" in text and "certificate" in text:
            self._outage.refuse(not_trusted(self._servers, text))


class _Details:
    """Takes the place of a logger: librdkafka calls every lost connection an error, here it is a detail."""

    def log(self, _level: int, text: str, *words: object) -> None:
        """Hand on what the library says."""
        log.debug(text, *words)


def consumer_options(settings: Settings) -> dict[str, Any]:
    """The library's options. A group is needed to have a consumer at all; it is never joined, and nothing is committed."""
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
        # By default it stops fetching for a whole second whenever it has fetched enough ahead.
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
