"""New lines of a topic of Kafka, from the offsets where a version's data end."""

from __future__ import annotations

import logging
import ssl
import time
import warnings
from typing import TYPE_CHECKING, Any

from app.fresh.follow import SourceError

with warnings.catch_warnings():
    # The library reads its schemas with a function that Python 3.11 and 3.12 call deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]
    from kafka.errors import KafkaError, OffsetOutOfRangeError  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.settings import TopicSettings

log = logging.getLogger(__name__)

CONNECT_MS = 5_000
REQUEST_MS = 5_000
CLOSE_MS = 1_000
ENDS_SECONDS = 1.0
MOST_LINES = 5_000
# New partitions of a topic are rare, and looking for them is a request.
PARTITIONS_SECONDS = 60.0


class TopicSource:
    """See `Source`. The lines of all partitions of a topic. It connects at the first `poll`, and again after an outage.

    A partition without a mark begins where the version's data end: at `offsets`, or else at the time `since`.
    """

    def __init__(self, settings: TopicSettings, offsets: Mapping[str, int], since: float, marks: Mapping[str, int]) -> None:
        """`offsets` and `marks` by `TOPIC/PARTITION`; `since` in seconds since 1970."""
        self.name = f"topic {settings.kafka_topic}"
        self.as_of = 0.0
        self.lost = 0
        self._settings = settings
        self._topic = settings.kafka_topic
        self._offsets = {key: offset for key, offset in offsets.items() if key.rpartition("/")[0] == self._topic}
        self._since = since
        self._marks = dict(marks)
        self._consumer: Any = None
        self._look_at = 0.0
        self._ends: dict[Any, int] = {}
        self._ends_of = 0.0
        logging.getLogger("kafka").setLevel(logging.CRITICAL)  # the library calls every lost connection an error

    @property
    def marks(self) -> Mapping[str, int]:
        """See `Source`. The next offset of each partition."""
        return dict(self._marks)

    def poll(self) -> list[str]:
        """See `Source`. At most `MOST_LINES`: those that the library's own thread has fetched."""
        try:
            consumer = self._connected()
            records = consumer.poll(timeout_ms=0, max_records=MOST_LINES)
            for where, found in records.items():
                self._marks[self._key(where)] = found[-1].offset + 1
            self._note_ends()
        except OffsetOutOfRangeError:
            self._skip_what_is_gone()
            return []
        except (KafkaError, OSError) as error:
            raise self._failure(error) from error
        return [(each.value or b"").decode("utf-8", "surrogateescape") for found in records.values() for each in found]

    def close(self) -> None:
        """See `Source`. The next `poll` connects again."""
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_MS)
        self._consumer, self._look_at, self._ends_of = None, 0.0, 0.0

    def _note_ends(self) -> None:
        """Set `as_of` where the ends of a moment ago are reached, and ask for the present ends. Raises KafkaError."""
        # The position also passes what has no line: marks of transactions, and aborted ones.
        if self._ends_of and all((self._consumer.position(each, timeout_ms=0) or 0) >= end for each, end in self._ends.items()):
            self.as_of, self._ends_of = self._ends_of, 0.0
        now = time.time()
        if not self._ends_of and abs(now - self.as_of) >= ENDS_SECONDS:
            self._ends = self._consumer.end_offsets(sorted(self._consumer.assignment()), timeout_ms=REQUEST_MS)
            self._ends_of = now

    def _connected(self) -> Any:  # noqa: ANN401 - the library has no types
        """The consumer, with every partition assigned. Raises KafkaError, OSError, SourceError."""
        if self._consumer is None:
            options = consumer_options(self._settings)
            self._consumer = KafkaConsumer(**options, bootstrap_timeout_ms=CONNECT_MS)
        if time.monotonic() >= self._look_at:
            self._assign()
            self._look_at = time.monotonic() + PARTITIONS_SECONDS
        return self._consumer

    def _assign(self) -> None:
        """Assign partitions that are new to the consumer. Raises KafkaError, SourceError."""
        self._consumer.bootstrap(timeout_ms=REQUEST_MS, refresh=True)
        found = self._consumer.partitions_for_topic(self._topic) or ()
        if not found:
            raise SourceError(f"{self._settings.kafka_bootstrap_servers} has no topic {self._topic}: set KAFKA_TOPIC")
        assigned = self._consumer.assignment()
        new = [where for each in sorted(found) if (where := TopicPartition(self._topic, each)) not in assigned]
        if not new:
            return
        begin = self._begin_of([where for where in new if self._key(where) not in self._marks])
        self._consumer.assign([*assigned, *new])
        for where in (*assigned, *new):
            self._consumer.seek(where, self._marks.setdefault(self._key(where), begin.get(where, 0)))

    def _begin_of(self, partitions: list[Any]) -> dict[Any, int]:
        """Where partitions without a mark begin. Raises KafkaError."""
        known = {where: self._offsets[key] for where in partitions if (key := self._key(where)) in self._offsets}
        others = {where: int(self._since * 1000) for where in partitions if where not in known}
        if not others:
            return known
        if self._offsets:  # the version has read the topic, so a partition without an offset is newer than its data
            return {**known, **self._consumer.beginning_offsets(list(others), timeout_ms=REQUEST_MS)}
        found = self._consumer.offsets_for_times(others, timeout_ms=REQUEST_MS)
        ends = self._consumer.end_offsets(list(others), timeout_ms=REQUEST_MS)
        return {**known, **{where: found[where].offset if found.get(where) else ends[where] for where in others}}

    def _skip_what_is_gone(self) -> None:
        """Continue with the first line that a partition still has, where the next one is gone. Raises SourceError."""
        try:
            assigned = sorted(self._consumer.assignment())
            firsts = self._consumer.beginning_offsets(assigned, timeout_ms=REQUEST_MS)
            ends = self._consumer.end_offsets(assigned, timeout_ms=REQUEST_MS)
        except (KafkaError, OSError) as error:
            raise self._failure(error) from error
        for where in assigned:
            key, first, end = self._key(where), firsts[where], ends[where]
            place = self._marks[key]
            if first <= place <= end:
                continue
            if place < first:
                self.lost += first - place
                log.warning("%s: offsets %d to %d are gone: their lines do not count", key, place, first - 1)
            else:
                log.warning("%s ends at %d, but was read up to %d: the topic is new, and read from its start", key, end, place)
            self._marks[key] = first
            self._consumer.seek(where, first)

    def _failure(self, error: Exception) -> SourceError:
        """The error of a request that failed. The next request connects again."""
        self.close()
        if isinstance(error, SourceError):
            return error
        return SourceError(f"{self._settings.kafka_bootstrap_servers}: {str(error) or type(error).__name__}")

    @staticmethod
    def _key(where: Any) -> str:  # noqa: ANN401 - the library has no types
        return f"{where.topic}/{where.partition}"


def consumer_options(settings: TopicSettings) -> dict[str, Any]:
    """The options of kafka-python's consumer. Raises OSError if a certificate file cannot be used."""
    password = settings.kafka_security_password
    protocol = settings.kafka_security_protocol or "PLAINTEXT"
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "client_id": "movierec",
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        # In Python the check takes two thirds of the reading time. The broker checks the messages, too.
        "check_crcs": False,
        "metrics_enabled": False,
        "fetch_max_wait_ms": 100,
        "request_timeout_ms": 10_000,
        "reconnect_backoff_max_ms": 1_000,
        "security_protocol": protocol,
        "ssl_context": _tls(settings) if protocol.endswith("SSL") else None,
        "sasl_mechanism": settings.kafka_security_mechanism if protocol.startswith("SASL") else None,
        "sasl_plain_username": settings.kafka_security_user,
        "sasl_plain_password": password.get_secret_value() if password else None,
    }


def _tls(settings: TopicSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_security_ca_file)
        if settings.kafka_security_cert_file:
            context.load_cert_chain(settings.kafka_security_cert_file, settings.kafka_security_key_file, _no_password)
    except OSError as error:
        raise OSError(f"KAFKA_SECURITY_CA_FILE, _CERT_FILE or _KEY_FILE cannot be used: {error}") from error
    return context


def _no_password() -> str:
    """An empty password: without it OpenSSL would ask on the terminal for the password of an encrypted key."""
    return ""
