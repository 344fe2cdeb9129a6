"""New lines of a topic of Kafka, from the offsets where a version's data end."""

from __future__ import annotations

import contextlib
import gc
import logging
import ssl
import time
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from app.fresh.follow import SourceError

with warnings.catch_warnings():
    # The library reads its schemas with a function that Python 3.11 and 3.12 call deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]
    from kafka.errors import KafkaError, OffsetOutOfRangeError  # type: ignore[import-untyped]
    from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]
    from kafka.net.manager import KafkaConnectionManager  # type: ignore[import-untyped]
    from kafka.net.selector import NetworkSelector  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.settings import TopicSettings

    T = TypeVar("T")

log = logging.getLogger(__name__)

# The library has no types.
Consumer: TypeAlias = Any
Partition: TypeAlias = Any
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
        self._consumer: Consumer = None
        self._look_at = 0.0
        self._ends: dict[Partition, int] = {}
        self._ends_of = 0.0
        self._asked_at = 0.0
        logging.getLogger("kafka").setLevel(logging.CRITICAL)  # the library calls every lost connection an error

    @property
    def marks(self) -> Mapping[str, int]:
        """See `Source`. The next offset of each partition."""
        return dict(self._marks)

    def poll(self) -> list[str]:
        """See `Source`. At most `MOST_LINES`: those that the library's own thread has fetched."""
        try:
            # First, because a failure must not drop lines. What was polled before is in the state by now.
            self._note_ends(self._connected())
            records = self._connected().poll(timeout_ms=0, max_records=MOST_LINES)
        except OffsetOutOfRangeError:
            self._skip_what_is_gone()
            return []
        except (KafkaError, OSError) as error:
            raise self._failure(error) from error
        for where, found in records.items():
            self._marks[self._key(where)] = found[-1].offset + 1
        return [(each.value or b"").decode("utf-8", "surrogateescape") for found in records.values() for each in found]

    def close(self) -> None:
        """See `Source`. The next `poll` connects again."""
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_MS)
        self._consumer, self._look_at, self._ends_of = None, 0.0, 0.0

    def _note_ends(self, consumer: Consumer) -> None:
        """Set `as_of` where the ends of a moment ago are reached, and ask for the present ends. Raises KafkaError."""
        # The position also passes what has no line: marks of transactions, and aborted ones.
        if self._ends_of and all((consumer.position(each, timeout_ms=0) or 0) >= end for each, end in self._ends.items()):
            self.as_of, self._ends_of = self._ends_of, 0.0
        now = time.time()
        if not self._ends_of and abs(now - self._asked_at) >= ENDS_SECONDS:
            self._asked_at, assigned = now, sorted(consumer.assignment())
            self._ends = _offsets(consumer.end_offsets, assigned)
            self._ends_of = now if assigned and len(self._ends) == len(assigned) else 0.0

    def _connected(self) -> Consumer:
        """The consumer, with every partition assigned. Raises KafkaError, OSError, SourceError."""
        if self._consumer is None:
            self._consumer = self._connect()
        if time.monotonic() >= self._look_at:
            self._assign()
            self._look_at = time.monotonic() + PARTITIONS_SECONDS
        return self._consumer

    def _connect(self) -> Consumer:
        """A connected consumer. After a failure no thread of the library is left. Raises KafkaError, OSError."""
        networks = []

        def network(**options: object) -> KafkaNetClient:
            selector = NetworkSelector(**options)
            manager = KafkaConnectionManager(selector, **options)
            # The consumer does not pass its own option of this name to its requests.
            manager.cluster.config["allow_auto_create_topics"] = False
            networks.append(KafkaNetClient(selector, manager, **options))
            return networks[-1]

        try:
            options = consumer_options(self._settings)
            return KafkaConsumer(**options, bootstrap_timeout_ms=CONNECT_MS, kafka_client=network)
        except BaseException:
            for each in networks:
                each.close()
            raise

    def _assign(self) -> None:
        """Assign partitions that are new to the consumer. Those without a leader come later. Raises KafkaError, OSError."""
        self._consumer.bootstrap(timeout_ms=REQUEST_MS, refresh=True)
        found = self._consumer.partitions_for_topic(self._topic) or ()
        if not found:
            raise SourceError(f"{self._settings.kafka_bootstrap_servers} has no topic {self._topic}: set KAFKA_TOPIC")
        assigned = self._consumer.assignment()
        new = [where for each in sorted(found) if (where := TopicPartition(self._topic, each)) not in assigned]
        begin = self._begin_of([where for where in new if self._key(where) not in self._marks])
        self._marks |= {self._key(where): offset for where, offset in begin.items()}
        new = [where for where in new if self._key(where) in self._marks]
        if not new:
            return
        self._consumer.assign([*assigned, *new])
        for where in (*assigned, *new):
            self._consumer.seek(where, self._marks[self._key(where)])
        self._skip_what_is_gone()

    def _begin_of(self, partitions: list[Partition]) -> dict[Partition, int]:
        """Where partitions without a mark begin. Raises KafkaError."""
        known = {where: self._offsets[key] for where in partitions if (key := self._key(where)) in self._offsets}
        others = [where for where in partitions if where not in known]
        if self._offsets:  # the version has read the topic, so a partition without an offset is newer than its data
            return {**known, **_offsets(self._consumer.beginning_offsets, others)}
        return {**known, **_offsets(self._consumer.end_offsets, others), **self._at_time(others, self._since)}

    def _at_time(self, partitions: list[Partition], since: float) -> dict[Partition, int]:
        """The offset of each partition's first line at a time, where there is one. Raises KafkaError."""

        def ask(partitions: list[Partition], timeout_ms: int) -> dict[Partition, Any]:
            times = dict.fromkeys(partitions, int(since * 1000))
            found: dict[Partition, Any] = self._consumer.offsets_for_times(times, timeout_ms=timeout_ms)
            return found

        return {where: found.offset for where, found in _offsets(ask, partitions).items() if found}

    def _skip_what_is_gone(self) -> None:
        """Continue with the first line that a partition still has, where the next one is gone. Raises SourceError."""
        try:
            assigned = sorted(self._consumer.assignment())
            firsts = _offsets(self._consumer.beginning_offsets, assigned)
            ends = _offsets(self._consumer.end_offsets, assigned)
            begins = self._at_time(assigned, self.as_of or self._since)
        except (KafkaError, OSError) as error:
            raise self._failure(error) from error
        for where in firsts.keys() & ends.keys():
            key, first, end = self._key(where), firsts[where], ends[where]
            place = self._marks[key]
            if first <= place <= end:
                continue
            if place < first:
                self.lost += first - place
                log.warning("%s: offsets %d to %d are gone: their lines do not count", key, place, first - 1)
                begin = first
            else:
                begin = begins.get(where, end)
                log.warning("%s ends at %d, but was read up to %d: new or cut. It is read from %d", key, end, place, begin)
            self._marks[key] = begin
            self._consumer.seek(where, begin)

    def _failure(self, error: Exception) -> SourceError:
        """The error of a request that failed. The next request connects again."""
        self.close()
        gc.collect()  # the library leaves the sockets of attempts that failed
        if isinstance(error, SourceError):
            return error
        return SourceError(f"{self._settings.kafka_bootstrap_servers}: {str(error) or type(error).__name__}")

    @staticmethod
    def _key(where: Partition) -> str:
        return f"{where.topic}/{where.partition}"


def _offsets(request: Callable[..., dict[Partition, T]], partitions: list[Partition]) -> dict[Partition, T]:
    """What `request` finds for each partition; nothing for one without a leader. Raises KafkaError."""
    found: dict[Partition, T] = {}
    for where in partitions:
        with contextlib.suppress(KeyError):  # the library's answer for a partition that has no leader now
            found.update(request([where], timeout_ms=REQUEST_MS))
    return found


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
