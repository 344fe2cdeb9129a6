"""Lines go to a topic of a Kafka broker, one message each."""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from scripts.simulator.errors import OutputError

CONNECT_SECONDS = 10.0
DELIVERY_SECONDS = 30.0
LAST_SECONDS = 2.0
_FULL_SECONDS = 0.1


class KafkaSink:
    """Writes to a topic. The broker spreads lines over the topic's partitions; within each their order is kept."""

    def __init__(self, servers: str, topic: str) -> None:
        """Raises OutputError if no broker answers."""
        self._name = f"kafka://{servers}/{topic}"
        self._topic = topic
        self._error: KafkaError | None = None
        limit = int(DELIVERY_SECONDS * 1000)
        options = {"bootstrap.servers": servers, "linger.ms": 5, "enable.idempotence": True, "message.timeout.ms": limit}
        # Without its log on standard error: the errors that matter arrive as exceptions.
        self._producer = Producer({**options, "log_level": 0})
        try:
            self._producer.list_topics(timeout=CONNECT_SECONDS)
        except KafkaException as error:
            raise self._failure(error.args[0].str()) from error

    def write(self, line: str, /) -> None:
        """Send the line, and wait if too many are in the queue. Raises OutputError if a line could not be delivered."""
        while not self._is_taken(line):
            self._producer.poll(_FULL_SECONDS)
        self._producer.poll(0)
        self._check()

    def finish(self, seconds: float = DELIVERY_SECONDS + 5) -> None:
        """Wait until the broker has all lines. Raises OutputError after `seconds`."""
        left = self._producer.flush(seconds)
        self._check()
        if left:
            raise self._failure(f"{left} lines were not taken within {seconds:g} s")

    def abandon(self) -> None:
        """Deliver as many lines as possible within moments."""
        self._producer.flush(LAST_SECONDS)

    def _is_taken(self, line: str) -> bool:
        try:
            self._producer.produce(self._topic, line.encode(), on_delivery=self._note)
        except BufferError:
            return False
        return True

    def _note(self, error: KafkaError | None, _message: Message) -> None:
        self._error = self._error or error

    def _check(self) -> None:
        if self._error:
            raise self._failure(self._error.str())

    def _failure(self, reason: str) -> OutputError:
        return OutputError(f"cannot write {self._name}: {reason}; choose another place with --output")


@contextmanager
def open_kafka(servers: str, topic: str) -> Iterator[KafkaSink]:
    """Open a topic. At the end all lines are delivered; after an interruption, as many as possible within moments."""
    sink = KafkaSink(servers, topic)
    try:
        yield sink
    except BaseException:
        sink.abandon()
        raise
    sink.finish()
