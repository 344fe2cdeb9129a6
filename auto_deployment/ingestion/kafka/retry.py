"""Outages of a broker: how long a client waits, and the errors with which it gives up."""

from __future__ import annotations

import logging
import socket
import time
from threading import Thread
from typing import TYPE_CHECKING

from auto_deployment.ingestion.kafka.client import OffsetGoneError, StreamError

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

ADVERTISED_SECONDS = 5.0
# A new topic is not known at once. A topic that is absent for this long does not exist.
TOPIC_SECONDS = 2.0
PAUSE_SECONDS = 0.1
WARN_AFTER_SECONDS = 5.0


class Outage:
    """The time without progress, and the library's last error. Any thread may call `note` and `refuse`."""

    def __init__(self, servers: str, patience: float) -> None:
        self._servers = servers
        self._patience = patience
        self.end()

    def end(self) -> None:
        """Reset: there is progress."""
        self._since: float | None = None
        self._has_warned = False
        self._reason = ""
        self.refusal: StreamError | None = None

    def note(self, reason: str) -> None:
        """Keep the library's reason for a failed or lost connection. The last reason counts."""
        self._reason = reason
        self.refusal = None

    def refuse(self, error: StreamError) -> None:
        """Keep a refusal: the broker answers, but one side rejects the other."""
        self.refusal = error

    def wait(self, awaited: str, patience: float | None = None) -> None:
        """Pause for a moment: see `check`."""
        self.check(awaited, patience)
        time.sleep(PAUSE_SECONDS)

    def check(self, awaited: str, patience: float | None = None) -> None:
        """Note that there was no progress. Raises StreamError after `patience` seconds, with a message that names `awaited`."""
        patience = self._patience if patience is None else patience
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= patience:
            raise self.failure(patience, awaited)
        if now - self._since >= WARN_AFTER_SECONDS and not self._has_warned:
            self._has_warned = True
            log.warning("%s: still waiting for %s, up to %g s%s", self._servers, awaited, patience, _bracketed(self._reason))

    def failure(self, seconds: float, awaited: str) -> StreamError:
        """The error to raise after `seconds` without progress."""
        return self.refusal or no_answer(self._servers, seconds, awaited, self._reason)


def no_answer(servers: str, seconds: float, awaited: str, reason: str) -> StreamError:
    """The broker does not answer."""
    return StreamError(
        f"no answer from {servers} within {seconds:g} s, waiting for {awaited}{_bracketed(reason)}: "
        "is the broker up, and are KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL right?"
    )


def check_advertised(servers: str, brokers: Iterable[tuple[str, int]], seconds: float = ADVERTISED_SECONDS) -> None:
    """Wait until each broker accepts connections at its advertised host and port, where clients read.

    `brokers` has these hosts and ports. Raises StreamError if no broker can be reached within `seconds`. If only some brokers
    cannot be reached, a warning is logged: they may have just died, and other brokers may have their partitions.
    """
    every, until = set(brokers), time.monotonic() + seconds
    reasons = {address: "no answer" for address in every if f"{address[0]}:{address[1]}" not in servers.split(",")}
    # The threads may outlive this call, because the look-up of a name has no time limit.
    threads = [Thread(target=_connect, args=(address, until, reasons), daemon=True) for address in reasons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))
    if not reasons:
        return
    found = ", ".join(f"{host}:{port} ({reason})" for (host, port), reason in sorted(reasons.copy().items()))
    problem = (
        f"{servers} answers, but this machine cannot reach the addresses that its brokers advertise: {found}: "
        "correct the broker's advertised.listeners, or make the names known here"
    )
    if len(reasons) == len(every):
        raise StreamError(problem)
    log.warning("%s", problem)


def _connect(address: tuple[str, int], until: float, reasons: dict[tuple[str, int], str]) -> None:
    """Try to connect until the time is over. A reached broker is removed from `reasons`."""
    while (left := until - time.monotonic()) > 0:
        try:
            socket.create_connection(address, timeout=left).close()
        except (OSError, UnicodeError) as error:
            reasons[address] = getattr(error, "strerror", None) or str(error)
            time.sleep(PAUSE_SECONDS)
        else:
            del reasons[address]
            return


def no_topic(servers: str, topic: str) -> StreamError:
    """The broker has no such topic."""
    return StreamError(f"{servers} has no topic {topic}: set KAFKA_TOPIC to one that it has")


def not_authenticated(servers: str, reason: str) -> StreamError:
    """The broker does not accept our login."""
    return StreamError(
        f"authentication failed at {servers}{_bracketed(reason)}: "
        "check KAFKA_SECURITY_USER, KAFKA_SECURITY_PASSWORD and KAFKA_SECURITY_MECHANISM"
    )


def not_trusted(servers: str, reason: str) -> StreamError:
    """One side does not trust the other's certificate."""
    return StreamError(
        f"no TLS connection to {servers}, a certificate is not trusted{_bracketed(reason)}: "
        "check KAFKA_SECURITY_CA_FILE, and KAFKA_SECURITY_CERT_FILE where the broker asks for one"
    )


def not_readable(topic: str, reason: str) -> StreamError:
    """The broker answers with a permanent error."""
    return StreamError(f"topic {topic} cannot be read ({reason}): check the topic, and the rights of KAFKA_SECURITY_USER")


def no_codec(topic: str, reason: str) -> StreamError:
    """The library cannot decompress the messages here."""
    return StreamError(f"topic {topic} cannot be read ({reason}): set KAFKA_CLIENT=confluent-kafka, which knows all codecs")


def out_of_range(topic: str, partition: int, offset: int, first: int) -> Exception:
    """The error for an offset that the partition, which now begins at `first`, has no longer, or not yet."""
    if offset < first:
        return OffsetGoneError(partition, offset)
    return StreamError(f"topic {topic} partition {partition} ends before offset {offset}: was the topic made anew?")


def _bracketed(reason: str) -> str:
    return f" ({reason})" if reason else ""
