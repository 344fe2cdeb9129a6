"""A client of a recommender, like the film service: one deadline for the whole answer, and a strict check."""

import http.client
import socket
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from scripts.simulator.errors import InputError, MalformedAnswerError
from scripts.simulator.lines import RequestOutcome

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MOST_FILMS = 20
OK = 200
DEFAULT_PORT = 80

TIMEOUT, CONNECTION = "timeout", "connection"
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


def films_of(body: bytes) -> tuple[str, ...]:
    """Read a body of 1 to 20 distinct ids, joined by commas, with no blank; anything else is malformed."""
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedAnswerError("not plain ASCII") from error
    films = tuple(text.split(","))
    breach = _breach(text, films)
    if breach:
        raise MalformedAnswerError(breach)
    return films


def _breach(text: str, films: tuple[str, ...]) -> str | None:
    if not text:
        return "empty"
    if any(sign.isspace() for sign in text):
        return "a blank or a line break"
    if not all(films):
        return "an empty id"
    if len(films) > MOST_FILMS:
        return f"{len(films)} ids"
    return "an id twice" if len(set(films)) < len(films) else None


def timed_out(server: str, limit_ms: float, milliseconds: float) -> RequestOutcome:
    """The outcome of a time-out, with the message of the film service."""
    text = f"java.util.concurrent.TimeoutException: Request timeout to {server} after {limit_ms:g} ms"
    return RequestOutcome(server, 0, text, milliseconds, failure=TIMEOUT)


def broken_off(server: str, error: Exception, milliseconds: float) -> RequestOutcome:
    """The outcome of a request without a service, or with a connection that broke before the whole answer."""
    name = "java.net.ConnectException" if isinstance(error, ConnectionRefusedError) else "java.io.IOException"
    return RequestOutcome(server, 0, f"{name}: {str(error) or type(error).__name__}", milliseconds, failure=CONNECTION)


def outcome_of(server: str, status: int, body: bytes, milliseconds: float) -> RequestOutcome:
    """The outcome of an answer. A malformed answer gets status 0, since 200 means success."""
    if status != OK:
        text = body.decode("utf-8", "replace").strip()
        return RequestOutcome(server, status, text or "no text", milliseconds, failure=f"status {status}")
    try:
        films = films_of(body)
    except MalformedAnswerError as error:
        return RequestOutcome(server, 0, f"malformed answer: {error}", milliseconds, failure="malformed")
    return RequestOutcome(server, status, ", ".join(films), milliseconds, films)


def server_of(url: str) -> tuple[str, int]:
    """Split `http://host[:port]` into host and port."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme != "http" or parts.path.strip("/"):
        raise InputError(f"{url!r} is no address of a service: give it as http://HOST:PORT")
    return host, port


class _Socket(socket.socket):
    deadline = 0.0

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(_left(self.deadline))
        return super().recv_into(buffer, nbytes, flags)


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _since(begun: float) -> float:
    return (monotonic() - begun) * 1000


class _Connection(http.client.HTTPConnection):
    """A connection on which a slow drip of bytes cannot outlast the deadline.

    A load client needs the speed of http.client, and `requests` has no limit on a whole answer.
    """

    deadline = 0.0
    sock: _Socket | None

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), timeout=_left(self.deadline))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = _Socket(fileno=plain.detach())

    def exchange(self, path: str) -> tuple[int, bytes]:
        if self.sock is None:
            self.connect()
        if self.sock is not None:
            self.sock.deadline = self.deadline
            self.sock.settimeout(_left(self.deadline))
        self.request("GET", path)
        response = self.getresponse()
        return response.status, response.read()


class ServiceClient:
    """One client with one connection, kept alive between requests. Not to be shared between threads."""

    def __init__(self, url: str, timeout_ms: float) -> None:
        """Connect to nothing yet; `url` is `http://HOST:PORT`."""
        host, port = server_of(url)
        self.server = f"{host}:{port}"
        self.timeout_ms = timeout_ms
        self._connection = _Connection(host, port)

    def ask(self, user: int | str, /) -> RequestOutcome:
        """Send `GET /recommend/<user>` and check the answer. A failure is an outcome too, never an exception."""
        begun = monotonic()
        self._connection.deadline = begun + self.timeout_ms / 1000
        try:
            status, body = self._exchange("/recommend/" + quote(str(user), safe=""))
        except TimeoutError:
            self.close()
            return timed_out(self.server, self.timeout_ms, _since(begun))
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return broken_off(self.server, error, _since(begun))
        return outcome_of(self.server, status, body, _since(begun))

    def _exchange(self, path: str) -> tuple[int, bytes]:
        kept = self._connection.sock is not None
        try:
            return self._connection.exchange(path)
        except _STALE:
            self.close()
            if not kept:
                raise
            # The server closed a kept connection: this is no failure of the request.
            return self._connection.exchange(path)

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        self._connection.close()
