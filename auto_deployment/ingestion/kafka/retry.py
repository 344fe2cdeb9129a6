"""Patience with a broker: what a client knows about its connections, how long it waits, and in which words it gives up."""

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

PATIENCE_SECONDS = 60.0
CONNECT_SECONDS = 15.0
ADVERTISED_SECONDS = 5.0
# A topic that was made this moment is not known at once; one that is absent for so long does not exist.
TOPIC_SECONDS = 2.0
PAUSE_SECONDS = 0.1
TOLD_AFTER_SECONDS = 5.0


class Outage:
    """The time without progress, and what the library said meanwhile. `note` and `refuse` may be called from any thread."""

    def __init__(self, servers: str, patience: float) -> None:
        self._servers = servers
        self._patience = patience
        self.end()

    def end(self) -> None:
        """There is progress."""
        self._since: float | None = None
        self._told = False
        self._reason = ""
        self.refusal: StreamError | None = None

    def note(self, reason: str) -> None:
        """Keep what the library says of a connection that was lost or not made; the last one counts."""
        self._reason = reason
        self.refusal = None

    def refuse(self, error: StreamError) -> None:
        """Keep that the broker answers, but will not have us, or we not it."""
        self.refusal = error

    def wait(self, what: str, patience: float | None = None) -> None:
        """Pause for a moment; see `go_on`."""
        self.go_on(what, patience)
        time.sleep(PAUSE_SECONDS)

    def go_on(self, what: str, patience: float | None = None) -> None:
        """There was no progress. Raises StreamError when that lasted for all the patience; `what` is waited for."""
        patience = self._patience if patience is None else patience
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= patience:
            raise self.failure(patience, what)
        if now - self._since >= TOLD_AFTER_SECONDS and not self._told:
            self._told = True
            log.warning("%s: still waiting for %s, up to %g s%s", self._servers, what, patience, _bracketed(self._reason))

    def failure(self, seconds: float, what: str) -> StreamError:
        """The error to give up with after so long."""
        return self.refusal or away(self._servers, seconds, what, self._reason)


def away(servers: str, seconds: float, what: str, reason: str) -> StreamError:
    """The broker does not answer."""
    return StreamError(
        f"no answer from {servers} within {seconds:g} s, waiting for {what}{_bracketed(reason)}: "
        "is the broker up, and are KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL right?"
    )


def check_advertised(servers: str, brokers: Iterable[tuple[str, int]], seconds: float = ADVERTISED_SECONDS) -> None:
    """Wait until each broker takes connections at the host and port that it advertises: clients read from there.

    `brokers`: the advertised host and port of each. Raises StreamError when none can be reached within `seconds`. When only
    some cannot, the log says so: they may have just died, and their partitions may have gone to others.
    """
    every, until = set(brokers), time.monotonic() + seconds
    reasons = {address: "no answer" for address in every if f"{address[0]}:{address[1]}" not in servers.split(",")}
    # The threads may outlive this call, because nothing limits the look-up of a name.
    threads = [Thread(target=_knock, args=(address, until, reasons), daemon=True) for address in reasons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))
    if not reasons:
        return
    found = ", ".join(f"{host}:{port} ({reason})" for (host, port), reason in sorted(reasons.copy().items()))
    told = (
        f"{servers} answers, but this machine cannot reach the addresses that its brokers advertise: {found}: "
        "correct the broker's advertised.listeners, or make the names known here"
    )
    if len(reasons) == len(every):
        raise StreamError(told)
    log.warning("%s", told)


def _knock(address: tuple[str, int], until: float, reasons: dict[tuple[str, int], str]) -> None:
    """Try to connect, again and again, until the broker is reached, which takes its reason away, or the time is over."""
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
    """The broker does not accept who we say we are."""
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
    """The broker answers with an error that time does not mend."""
    return StreamError(f"topic {topic} cannot be read ({reason}): check the topic, and the rights of KAFKA_SECURITY_USER")


def no_codec(topic: str, reason: str) -> StreamError:
    """The messages are compressed in a way that this library cannot undo here."""
    return StreamError(f"topic {topic} cannot be read ({reason}): set KAFKA_CLIENT=confluent-kafka, which knows all codecs")


def out_of_range(topic: str, partition: int, offset: int, first: int) -> Exception:
    """An offset was asked for that the partition, which now begins at `first`, has no more, or not yet."""
    if offset < first:
        return OffsetGoneError(partition, offset)
    return StreamError(f"topic {topic} partition {partition} ends before offset {offset}: was the topic made anew?")


def _bracketed(reason: str) -> str:
    return f" ({reason})" if reason else ""
