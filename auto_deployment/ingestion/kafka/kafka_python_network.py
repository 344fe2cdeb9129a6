"""kafka-python's network with reasons: the library alone hides why a connection fails, and retries without an end."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING

from kafka.errors import (  # type: ignore[import-untyped]
    IllegalSaslStateError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.manager import KafkaConnectionManager  # type: ignore[import-untyped]

from auto_deployment.ingestion.kafka.retry import not_authenticated, not_trusted

if TYPE_CHECKING:
    from kafka.net.connection import KafkaConnection  # type: ignore[import-untyped]
    from kafka.net.selector import NetworkSelector  # type: ignore[import-untyped]

    from auto_deployment.ingestion.kafka.retry import Outage

log = logging.getLogger(__name__)

_LOGIN_ERRORS = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, IllegalSaslStateError)


class ReportingConnections(KafkaConnectionManager):  # type: ignore[misc]
    """The library's connections, which report to an `Outage` why they fail.

    Until `is_open`, a refusal ends the attempt to connect at once. Later a refusal is an outage like any other.
    """

    def __init__(self, net: NetworkSelector, outage: Outage, servers: str, **options: object) -> None:
        super().__init__(net, **options)
        # The consumer does not pass its own option of this name to its requests.
        self.cluster.config["allow_auto_create_topics"] = False
        self.is_open = False
        self._outage = outage
        self._servers = servers

    def get_connection(self, node_id: int | str, *arguments: object, **options: object) -> KafkaConnection:
        """The library's connection. Raises StreamError if the last one was refused while the client opens."""
        if self._outage.refusal and not self.is_open:
            raise self._outage.refusal
        connection = super().get_connection(node_id, *arguments, **options)
        if connection.initializing:
            connection.close_future.add_errback(self._note, connection)
        return connection

    def _note(self, connection: KafkaConnection, error: BaseException) -> None:
        self._outage.note(str(error))
        if any(_is_about_certificates(each) for each in (error, error.__context__, *error.args)):
            self._outage.refuse(not_trusted(self._servers, str(error)))
        elif isinstance(error, _LOGIN_ERRORS):
            self._outage.refuse(not_authenticated(self._servers, str(error)))
        elif _was_closed_at_login(connection, error):
            self._outage.refuse(not_authenticated(self._servers, "the broker closes the connection at the login"))


class _Relay(logging.Handler):
    """Writes the library's messages to this module's log as details. The library calls every lost connection an error."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        log.debug("%s: %s", record.name, record.getMessage())


def redirect_library_logs() -> None:
    """Send the library's log through ours."""
    library = logging.getLogger("kafka")
    library.setLevel(logging.WARNING)
    library.propagate = False
    if not any(isinstance(handler, _Relay) for handler in library.handlers):
        library.addHandler(_Relay())


def _was_closed_at_login(connection: KafkaConnection, error: BaseException) -> bool:
    """Whether the broker closed a connection after its first answer, when the login came next.

    A broker answers a bad login and closes the connection. The library drops an answer that arrives with the end.
    """
    has_begun = connection.init_future.failed() and connection.broker_version_data is not None
    return has_begun and connection.config["sasl_mechanism"] is not None and "socket disconnected" in str(error)


def _is_about_certificates(error: object) -> bool:
    """Whether the error is about a certificate, ours or the broker's, that is missing or not trusted."""
    return isinstance(error, ssl.SSLError) and any(word in str(error).upper() for word in ("CERT", "UNKNOWN_CA"))
