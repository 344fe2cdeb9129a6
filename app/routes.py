"""The HTTP routes: which requests are allowed, and the exact form of each answer."""

from __future__ import annotations

import hashlib
import logging
import random
import re
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, InternalServerError

from app import __version__, journal
from app.fresh.overlay import read_status
from app.request_log import Entry
from app.track import TRACKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.recommender import Answer

log = logging.getLogger(__name__)

USER = re.compile(r"[0-9]{1,19}")
USER_LIMIT = 2**63
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
TEXT = "text/plain; charset=utf-8"
# A release sends requests with this header directly to a service. They leave no trace. NGINX removes the header from clients.
SHADOW = "HTTP_X_SHADOW"


class Recommends(Protocol):
    """The interface of `app.recommender.Recommender`."""

    version: int

    def recommend(self, user: int) -> Answer: ...

    def replay(self, user: int, inputs: str) -> Answer: ...

    def problems(self) -> list[str]: ...


class Provenance(Protocol):
    """The interface of `app.journal.Journal`, which keeps an answer before a client gets it."""

    state: journal.JournalState

    def append(self, line: bytes) -> bool: ...


class Service(NamedTuple):
    """What the routes need from the service. A part that is switched off is `None`."""

    recommender: Recommends
    provenance: Provenance | None
    track: Callable[[], str]
    log_request: Callable[[Entry], None] | None
    count_lost: Callable[[], None] | None
    count_answer: Callable[[str], None] | None = None
    overlay: Path | None = None


def new_id() -> str:
    """A UUID version 7 as 32 hexadecimal digits: unique, and ordered by time within a quarter of a microsecond."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    return f"{milliseconds:012x}7{rest * 4096 // 1_000_000:03x}{random.getrandbits(62) | 1 << 63:016x}"


def request_id_of(header: str | None) -> str:
    """The client's own request id if the header has the form of one, else a new one."""
    return header if header is not None and REQUEST_ID.fullmatch(header) else new_id()


def digest_of(body: str) -> str:
    """The digest of an answer's body for its provenance row: 64 bits of BLAKE2b, hexadecimal."""
    return hashlib.blake2b(body.encode(), digest_size=8).hexdigest()


def user_of(text: str) -> int | None:
    """The user's id: 1 to 19 decimal digits, below 2^63. None for anything else."""
    if USER.fullmatch(text) is None:
        return None
    user = int(text)
    return user if user < USER_LIMIT else None


def add_routes(app: Flask, service: Service) -> None:
    """Add the routes and the error handler to `app`."""
    app.url_map.merge_slashes = False
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # OPTIONS is a method like the others: 405
    app.before_request(_note_start)
    app.add_url_rule("/recommend/<user>", "recommend", _Recommend(service), methods=["GET"])
    app.add_url_rule("/healthz", "healthz", lambda: Response("ok", content_type=TEXT), methods=["GET"])
    app.add_url_rule("/readyz", "readyz", lambda: _readyz(app, service), methods=["GET"])
    app.register_error_handler(Exception, _ErrorHandler(service))


def _note_start() -> None:
    request.started = time.perf_counter()  # type: ignore[attr-defined]


class _Recommend:
    """`GET /recommend/<user>`: finds the list, journals it, and answers. `X-Shadow` omits journal and answer id."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._version = service.recommender.version
        self._fixed = {track: [("X-Model-Version", str(self._version)), ("X-Track", track)] for track in TRACKS}

    def __call__(self, user: str) -> Response:
        this = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - each use of the proxy costs time
        request_id = request_id_of(this.environ.get("HTTP_X_REQUEST_ID"))
        number = user_of(user)
        if number is None:
            return _refused(self._service, request_id, 400, "user: 1 to 19 decimal digits, below 2^63")
        track = self._service.track()
        if SHADOW in this.environ:
            # Empty inputs mean no exploration: a release compares the lists with each other and with the popular list.
            answer = self._service.recommender.replay(number, "")
            return Response(answer.body, 200, [("X-Request-ID", request_id), *self._fixed[track]], content_type=TEXT)
        answer = self._service.recommender.recommend(number)
        answer_id = new_id()
        if self._service.count_answer is not None:
            self._service.count_answer(answer.step)
        self._journal(answer_id, request_id, number, track, answer)
        if self._service.log_request is not None:
            milliseconds = (time.perf_counter() - this.started) * 1000
            self._service.log_request(Entry(request_id, answer_id, number, self._version, track, 200, milliseconds))
        headers = [("X-Request-ID", request_id), ("X-Answer-ID", answer_id), *self._fixed[track]]
        return Response(answer.body, 200, headers, content_type=TEXT)

    def _journal(self, answer_id: str, request_id: str, user: int, track: str, answer: Answer) -> None:
        service = self._service
        if service.provenance is None:
            return
        served_at, digest = time.time_ns() // 1000, digest_of(answer.body)
        row = journal.Row(answer_id, request_id, user, self._version, track, served_at, answer.step, digest, answer.inputs)
        lines = journal.to_line(row)
        if answer.source:
            # One write keeps both lines or none: a served list is never without what it was computed from.
            list_id = answer.inputs.split(":")[1]
            served = journal.ServedList(list_id, user, self._version, served_at, answer.source)
            lines = journal.list_line(served) + lines
        if not service.provenance.append(lines) and service.count_lost is not None:
            service.count_lost()


class _ErrorHandler:
    """Answers an error with one line of text. A traceback is only in the log."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __call__(self, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            log.exception("%s %s failed", request.method, request.path[:200])
            error = InternalServerError()
        request_id = request_id_of(request.headers.get("X-Request-ID"))
        response = _refused(self._service, request_id, error.code or 500, error.name.lower())
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response


def _refused(service: Service, request_id: str, status: int, reason: str) -> Response:
    version, track = service.recommender.version, service.track()
    if service.log_request is not None:
        milliseconds = (time.perf_counter() - request.started) * 1000  # type: ignore[attr-defined]
        service.log_request(Entry(request_id, None, None, version, track, status, milliseconds, request.path))
    headers = [("X-Request-ID", request_id), ("X-Model-Version", str(version)), ("X-Track", track)]
    return Response(reason, status, headers, content_type=TEXT)


def _readyz(app: Flask, service: Service) -> Response:
    reasons = service.recommender.problems()
    body: dict[str, object] = {
        "ready": not reasons,
        "version": service.recommender.version,
        "track": service.track(),
        "software": __version__,
        "reasons": reasons,
        "journal": _journal_state(service.provenance),
        "fresh_as_of": None if service.overlay is None else read_status(service.overlay).as_of,
    }
    return Response(app.json.dumps(body), 503 if reasons else 200, content_type="application/json")


def _journal_state(provenance: Provenance | None) -> dict[str, object]:
    """The state of this worker's own journal. It does not depend on the database."""
    if provenance is None:
        return {"ok": False, "problem": "off: JOURNAL_DIR is not set", "rows_lost": 0}
    state = provenance.state
    return {"ok": not state.problem, "problem": state.problem, "rows_lost": state.lost}
