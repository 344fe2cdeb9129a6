"""The film service's read-only, rate-limited API over HTTP, and the documents that it answers with."""

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
from scripts.simulator.world import GENRES, NO_YEAR, Draws, World

OCCUPATIONS = (
    "other or not specified",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)
YOUNGEST, TYPICAL_AGE, AGE_SPREAD = 8, 33, 12
MEN_SHARE = 0.7
MOST_VOTES = 15_000

_USER_DRAWS, _FILM_DRAWS = 40, 41

Document = dict[str, object]


def user_document(world: World, user_id: int) -> Document | None:
    """Describe a user, or give None for an id that nobody has."""
    if world.users.place(user_id) is None:
        return None
    draws = Draws(world.seed, (_USER_DRAWS << 64) + user_id)
    return {
        "user_id": user_id,
        "age": max(YOUNGEST, round(TYPICAL_AGE + AGE_SPREAD * draws.normal())),
        "occupation": OCCUPATIONS[draws.below(len(OCCUPATIONS))],
        "gender": "M" if draws.uniform() < MEN_SHARE else "F",
    }


def film_document(world: World, film_id: str) -> Document | None:
    """Describe a film, or give None for an id that is not in the catalogue. Most numbers are strings, as they come."""
    films = world.films
    place = films.places.get(film_id)
    if place is None:
        return None
    draws = Draws(world.seed, (_FILM_DRAWS << 64) + place)
    year, share = films.years[place], films.popularity[place] / films.popularity[0]
    return {
        "id": film_id,
        "tmdb_id": place + 1,
        "imdb_id": f"tt{place + 1:07d}",
        "title": films.titles[place],
        "original_title": films.titles[place],
        "adult": "False",
        "budget": str(draws.below(200) * 500_000),
        "genres": [{"id": GENRES[genre][0], "name": GENRES[genre][1]} for genre in films.genres[place]],
        "original_language": "en",
        "popularity": f"{100 * share:.6f}",
        "release_date": "" if year == NO_YEAR else f"{year}-{1 + draws.below(12):02d}-{1 + draws.below(28):02d}",
        "runtime": films.runtimes[place],
        "status": "Released",
        "vote_average": f"{min(9.5, max(1.0, 6.5 + films.quality[place])):.1f}",
        "vote_count": str(1 + int(MOST_VOTES * share)),
    }


_PATH = re.compile(r"/(user|movie)/([^/]+)/?")
_USER = re.compile(r"[0-9]{1,18}")
MOST_IN_ONE = 200

Reply = tuple[HTTPStatus, Any]  # a document, or a list of documents


class RateLimit:
    """Allows so many requests a second, with one second's worth saved up at most; None allows all."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = monotonic) -> None:
        """Begin with one second's worth."""
        self._rate, self._clock, self._lock = rate, clock, Lock()
        self._saved, self._last = max(1.0, rate or 0.0), clock()

    def allows(self) -> bool:
        """Say whether one more request may pass now."""
        if self._rate is None:
            return True
        with self._lock:
            now = self._clock()
            self._saved = min(max(1.0, self._rate), self._saved + (now - self._last) * self._rate)
            self._last = now
            if self._saved < 1:
                return False
            self._saved -= 1
            return True


def reply(world: World, path: str) -> Reply:
    """Answer a GET of this path with status and document."""
    match = _PATH.fullmatch(path.partition("?")[0])
    if match is None:
        return HTTPStatus.NOT_FOUND, {"message": "not found: ask /user/<id> or /movie/<id>"}
    kind, ids = match[1], unquote(match[2]).split(",")
    if len(ids) > MOST_IN_ONE:
        return HTTPStatus.BAD_REQUEST, {"message": f"more than {MOST_IN_ONE} {kind}s"}
    known = [each for one in ids if (each := _document(world, kind, one)) is not None]
    if not known:
        return HTTPStatus.NOT_FOUND, {"message": f"{kind} not found"}
    return HTTPStatus.OK, known if len(ids) > 1 else known[0]


def _document(world: World, kind: str, one: str) -> Document | None:
    """The document of one user or film."""
    if kind == "movie":
        return film_document(world, one)
    return user_document(world, int(one)) if _USER.fullmatch(one) else None


class FilmApi(ThreadingHTTPServer):
    """The API, bound to its address. It answers once `serve_forever` runs."""

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
    # Head and body in one packet: on a kept connection the second of two small packets would wait.
    wbufsize = -1

    def do_GET(self) -> None:
        if self.server.limit.allows():
            self._send(*reply(self.server.world, self.path))
        else:
            self._send(HTTPStatus.TOO_MANY_REQUESTS, {"message": "too many requests"}, {"Retry-After": "1"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # The body of a refused request is not read, so the connection cannot be used again.
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
        """Log nothing: standard error is only for errors."""
