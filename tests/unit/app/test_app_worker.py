from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import get_parser
from gunicorn.workers.gthread import TConn, ThreadWorker

from app.worker import OnePieceWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ADDRESS = ("127.0.0.1", 5000)
REQUEST = b"%s /recommend/5 HTTP/1.1\r\nHost: here\r\n\r\n"


class RecordingSocket:
    """Has a request to read, and notes each piece that is sent."""

    def __init__(self, request: bytes, *, gone: bool) -> None:
        self._request = request
        self._gone = gone
        self.sent: list[bytes] = []
        self.kept_alive: bool | None = None
        self.given_back: bool | None = None

    def recv(self, _size: int) -> bytes:
        """The request, once."""
        request, self._request = self._request, b""
        return request

    def sendall(self, data: bytes) -> None:
        """Note it, or fail as a client does that has gone."""
        if self._gone:
            raise BrokenPipeError(32, "Broken pipe")
        self.sent.append(data)

    def gettimeout(self) -> float:
        """Never wait."""
        return 0.0

    def setblocking(self, _blocking: object) -> None:
        """What Gunicorn wants besides."""

    settimeout = shutdown = setblocking

    def close(self) -> None:
        """The same."""


def greet(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Answers in two parts."""
    start_response("200 OK", [("Content-Length", "10")])
    yield b"hello"
    yield b"world"


def break_off(_environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Fails in the midst of its answer."""
    start_response("200 OK", [("Content-Length", "10")])
    yield b"hello"
    raise RuntimeError("broken off")


def fail(_environ: dict[str, Any], _start_response: Any) -> Iterator[bytes]:
    """Fails before its answer."""
    raise RuntimeError("failed")


@pytest.fixture
def made() -> Iterator[list[ThreadWorker]]:
    """The workers of a test, let go of at the end."""
    workers: list[ThreadWorker] = []
    yield workers
    for worker in workers:
        worker.tmp.close()


@pytest.fixture
def serve(made: list[ThreadWorker]) -> Callable[..., RecordingSocket]:
    """Has a worker of the given class answer one request by the given application; the socket afterwards."""

    def one(kind: type[ThreadWorker], application: Any, method: bytes = b"GET", *, gone: bool = False) -> RecordingSocket:
        config = Config()
        config.set("loglevel", "critical")
        worker = kind(1, 0, [], None, 30, config, Logger(config))
        made.append(worker)
        worker.wsgi = application
        sock = RecordingSocket(REQUEST % method, gone=gone)
        connection = TConn(config, sock, ADDRESS, ADDRESS)
        connection.initialized = connection.data_ready = True
        connection.parser = get_parser(config, sock, ADDRESS)
        sock.kept_alive = worker.handle(connection)
        sock.given_back = connection.sock is sock
        return sock

    return one


def test_an_answer_is_sent_in_one_piece(serve: Callable[..., RecordingSocket]) -> None:
    """Head and every part of the body leave with one system call, and the connection can go on."""
    sock = serve(OnePieceWorker, greet)
    (answer,) = sock.sent
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 10" in head
    assert body == b"helloworld"
    assert sock.kept_alive is True
    assert sock.given_back is True


def test_head_is_sent_in_one_piece_without_a_body(serve: Callable[..., RecordingSocket]) -> None:
    """The answer to HEAD is its head."""
    (answer,) = serve(OnePieceWorker, greet, b"HEAD").sent
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 10" in answer


def test_an_answer_that_breaks_off_is_not_sent_at_all(serve: Callable[..., RecordingSocket]) -> None:
    """A failure after the head was given: the client gets nothing, so that a proxy asks another server."""
    sock = serve(OnePieceWorker, break_off)
    assert sock.sent == []
    assert sock.kept_alive is False
    assert sock.given_back is True


def test_a_failure_before_the_answer_is_an_error_of_the_server(serve: Callable[..., RecordingSocket]) -> None:
    """An application that raises at once: Gunicorn's own 500, and the connection ends."""
    sock = serve(OnePieceWorker, fail)
    assert sock.sent[0].startswith(b"HTTP/1.1 500 ")
    assert sock.kept_alive is False


def test_a_client_that_has_gone_ends_the_connection(serve: Callable[..., RecordingSocket]) -> None:
    """Sending fails because nobody is there: nothing is raised, the connection ends."""
    assert serve(OnePieceWorker, greet, gone=True).kept_alive is False


def test_gunicorns_own_worker_sends_in_several_pieces(serve: Callable[..., RecordingSocket]) -> None:
    """The reason for a worker of our own; when this fails, it can go."""
    assert len(serve(ThreadWorker, greet).sent) > 1
