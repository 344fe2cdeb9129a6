"""A recommender service, asked as the film service asks it: one deadline for the whole answer, and a strict check."""

import http.client
import socket
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from scripts.simulator.errors import InputError, MalformedAnswerError
from scripts.simulator.lines import Answer

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


def timed_out(server: str, limit_ms: float, milliseconds: float) -> Answer:
    """Log a request that was given up, in the words of the film service."""
    text = f"java.util.concurrent.TimeoutException: Request timeout to {server} after {limit_ms:g} ms"
    return Answer(server, 0, text, milliseconds, failure=TIMEOUT)


def broken_off(server: str, error: Exception, milliseconds: float) -> Answer:
    """Log a request that found no service, or lost it before the answer was whole."""
    name = "java.net.ConnectException" if isinstance(error, ConnectionRefusedError) else "java.io.IOException"
    return Answer(server, 0, f"{name}: {str(error) or type(error).__name__}", milliseconds, failure=CONNECTION)


def judged(server: str, status: int, body: bytes, milliseconds: float) -> Answer:
    """Log a request that was answered. A malformed answer gets status 0, since 200 means success."""
    if status != OK:
        text = body.decode("utf-8", "replace").strip()
        return Answer(server, status, text or "no text", milliseconds, failure=f"status {status}")
    try:
        films = films_of(body)
    except MalformedAnswerError as error:
        return Answer(server, 0, f"malformed answer: {error}", milliseconds, failure="malformed")
    return Answer(server, status, ", ".join(films), milliseconds, films)


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
    """A connection on which a slow drip of bytes cannot outlast the deadline."""

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


class Client:
    """One client with one connection, kept alive between requests. Not to be shared between threads."""

    def __init__(self, url: str, timeout_ms: float) -> None:
        """Connect to nothing yet; `url` is `http://HOST:PORT`."""
        host, port = server_of(url)
        self.server = f"{host}:{port}"
        self.timeout_ms = timeout_ms
        self._connection = _Connection(host, port)

    def ask(self, user: int | str, /) -> Answer:
        """Ask `GET /recommend/<user>` and judge the answer; failures are answers too, never errors."""
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
        return judged(self.server, status, body, _since(begun))

    def _exchange(self, path: str) -> tuple[int, bytes]:
        kept = self._connection.sock is not None
        try:
            return self._connection.exchange(path)
        except _STALE:
            self.close()
            if not kept:
                raise
            # The server closed a connection that it had kept: that says nothing about this request.
            return self._connection.exchange(path)

    def close(self) -> None:
        """Let the connection go; the next request opens another one."""
        self._connection.close()
