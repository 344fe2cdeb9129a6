"""The film service's read-only, rate-limited API over HTTP."""

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import unquote

from scripts.simulator.errors import PortTakenError
from scripts.simulator.profiles import Document, film_document, user_document
from scripts.simulator.world import World

_PATH = re.compile(r"/(user|movie)/([^/]+)/?")
_USER = re.compile(r"[0-9]{1,18}")
MOST_IN_ONE = 200

Reply = tuple[HTTPStatus, Any]  # a document, or a list of documents


class RateLimit:
    """Allows so many requests a second, with one second's worth saved up at most; None allows all."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = monotonic) -> None:
        """Begin with one second's worth."""
        self._rate, self._clock, self._lock = rate, clock, Lock()
        self._saved, self._asked = max(1.0, rate or 0.0), clock()

    def allows(self) -> bool:
        """Say whether one more request may pass now."""
        if self._rate is None:
            return True
        with self._lock:
            now = self._clock()
            self._saved = min(max(1.0, self._rate), self._saved + (now - self._asked) * self._rate)
            self._asked = now
            if self._saved < 1:
                return False
            self._saved -= 1
            return True


def reply(world: World, path: str) -> Reply:
    """Answer a GET of this path."""
    asked = _PATH.fullmatch(path.partition("?")[0])
    if asked is None:
        return HTTPStatus.NOT_FOUND, {"message": "not found: ask /user/<id> or /movie/<id>"}
    kind, ids = asked[1], unquote(asked[2]).split(",")
    if len(ids) > MOST_IN_ONE:
        return HTTPStatus.BAD_REQUEST, {"message": f"more than {MOST_IN_ONE} {kind}s"}
    known = [each for one in ids if (each := _document(world, kind, one)) is not None]
    if not known:
        return HTTPStatus.NOT_FOUND, {"message": f"{kind} not found"}
    return HTTPStatus.OK, known if len(ids) > 1 else known[0]


def _document(world: World, kind: str, one: str) -> Document | None:
    """What there is to say of one user or film."""
    if kind == "movie":
        return film_document(world, one)
    return user_document(world, int(one)) if _USER.fullmatch(one) else None


class FilmApi(ThreadingHTTPServer):
    """The API, bound to its address; it answers once it is told to serve."""

    daemon_threads = True

    def __init__(self, world: World, host: str, port: int, limit: RateLimit) -> None:
        """Bind the address; port 0 takes any free one."""
        self.world, self.limit = world, limit
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise PortTakenError(
                f"cannot listen on {host}:{port}: {error.strerror}; stop what listens there, or choose another --port"
            ) from error


class _Handler(BaseHTTPRequestHandler):
    server: FilmApi
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: two small ones would wait for each other on a connection that is kept.
    wbufsize = -1

    def do_GET(self) -> None:
        if self.server.limit.allows():
            self._send(*reply(self.server.world, self.path))
        else:
            self._send(HTTPStatus.TOO_MANY_REQUESTS, {"message": "too many requests"}, {"Retry-After": "1"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # What a refused request carries is not read, so the connection cannot be used again.
        self.close_connection = True
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._send(HTTPStatus.METHOD_NOT_ALLOWED, {"message": "read only"}, {"Allow": "GET, HEAD"})
        else:
            self._send(HTTPStatus(code), {"message": message or explain or HTTPStatus(code).phrase})

    def _send(self, status: HTTPStatus, document: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: standard error is for what goes wrong."""
