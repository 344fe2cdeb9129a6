from __future__ import annotations

import re
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from scripts.demo.nginx import Upstream, find_nginx, prepare
from scripts.ports import reserve
from tests.integration.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = b"\0" * 9000
LARGE = b"\0" * 2_000_000
CHUNKS = b"2328\r\n" + BODY + b"\r\n0\r\n\r\n"
BODIES = {
    "none": b"\r\n",
    "9 kB": b"Content-Length: 9000\r\n\r\n" + BODY,
    "2 MB": b"Content-Length: 2000000\r\n\r\n" + LARGE,
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "expected": b"Expect: 100-continue\r\nContent-Length: 9000\r\n\r\n" + BODY,
    "expected and chunked": b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
}
ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n([a-z ]*)", re.DOTALL)
NEXT = b"GET /nothing HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of NGINX with the project's configuration. No service is behind it."""
    (port,) = reserve()
    command = prepare(tmp_path_factory.mktemp("nginx"), port, [Upstream("127.0.0.1:9", 1, "stable")], find_nginx())
    with subprocess.Popen(command) as nginx:
        wait_until(lambda: nginx.poll() is not None or listens(port))
        yield port
        nginx.terminate()


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(port: int, sent: bytes) -> list[tuple[bytes, bytes]]:
    """Status and body of each answer to bytes that are sent as they stand."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        heard = b"".join(iter(lambda: connection.recv(100_000), b""))
    found = ANSWER.findall(heard)
    assert len(found) == heard.count(b"HTTP/1.1 ")
    assert heard.endswith(found[-1][1]), "more than one line"
    return found


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND", b"INVENTED"])
@pytest.mark.parametrize("path", [b"/recommend/5", b"/nothing"])
def test_another_method_is_not_allowed_whatever_its_body(port: int, path: bytes, method: bytes, body: bytes) -> None:
    """One line with 405, and the next request on the connection gets its own answer."""
    sent = method + b" " + path + b" HTTP/1.1\r\nHost: here\r\n" + body
    assert answers(port, sent + NEXT) == [(b"405", b"method not allowed"), (b"404", b"not found")]


@pytest.mark.parametrize(
    ("method", "body"),
    [
        (b"TRACE", BODIES["9 kB"]),
        (b"POST", b"Transfer-Encoding: chunked\r\n\r\nzz\r\nno chunk\r\n"),
        (b"POST", b"Connection: close\r\nContent-Length: 9000\r\n\r\n" + BODY),
    ],
    ids=["TRACE", "a broken chunk", "a client that closes"],
)
def test_a_refused_request_that_ends_the_connection_gets_one_line(port: int, method: bytes, body: bytes) -> None:
    """405 once, and nothing after it: what follows a broken body is no request."""
    sent = method + b" /recommend/5 HTTP/1.1\r\nHost: here\r\n" + body
    assert answers(port, sent) == [(b"405", b"method not allowed")]


@pytest.mark.parametrize(
    "body",
    [BODIES["9 kB"], BODIES["chunked"], b"Transfer-Encoding: gzip\r\n\r\n"],
    ids=["9 kB", "chunked", "an unknown coding"],
)
def test_a_body_that_comes_with_get_is_a_bad_request(port: int, body: bytes) -> None:
    """One line with 400; nothing of it reaches a service."""
    sent = b"GET /recommend/5 HTTP/1.1\r\nHost: here\r\n" + body
    assert answers(port, sent) == [(b"400", b"bad request")]
