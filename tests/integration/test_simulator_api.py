"""The film service's API over HTTP."""

from __future__ import annotations

import http.client
import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from scripts.simulator import World
from scripts.simulator.__main__ import main
from scripts.simulator.api import FilmApi, RateLimit
from tests.http_server import running

if TYPE_CHECKING:
    from collections.abc import Iterator

WORLD = World.generate(2, users=40, films=30)


@contextmanager
def serving(limit: RateLimit) -> Iterator[int]:
    """Serve on a free port while the block runs, and give the port."""
    with running(FilmApi(WORLD, "127.0.0.1", 0, limit)) as server:
        yield server.server_port


@pytest.fixture
def client() -> Iterator[http.client.HTTPConnection]:
    """A connection to an API without limit."""
    with serving(RateLimit(None)) as port, closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        yield connection


def ask(connection: http.client.HTTPConnection, method: str, path: str) -> tuple[http.client.HTTPResponse, Any]:
    """Send a request; give the answer and its JSON, None where there is no body."""
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    return response, json.loads(body) if body else None


def test_users_and_films_are_answered_in_json(client: http.client.HTTPConnection) -> None:
    """Both resources, one after the other over one connection, and what is missing with its message."""
    user, film = int(WORLD.users.ids[3]), WORLD.films.ids[4]
    response, document = ask(client, "GET", f"/user/{user}")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
    assert document["user_id"] == user
    assert ask(client, "GET", f"/movie/{film}")[1]["title"] == WORLD.films.titles[4]
    for path, message in (("/user/0", "user not found"), ("/movie/none+1999", "movie not found")):
        response, document = ask(client, "GET", path)
        assert (response.status, document) == (404, {"message": message})


def test_head_has_the_length_and_no_body(client: http.client.HTTPConnection) -> None:
    """HEAD answers as GET, without the document."""
    path = f"/user/{WORLD.users.ids[3]}"
    length = ask(client, "GET", path)[0].headers["Content-Length"]
    response, document = ask(client, "HEAD", path)
    assert (response.status, response.headers["Content-Length"], document) == (200, length, None)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_it_can_only_be_read(client: http.client.HTTPConnection, method: str) -> None:
    """Other methods are refused with what is allowed."""
    response, document = ask(client, method, f"/user/{WORLD.users.ids[3]}")
    assert (response.status, response.headers["Allow"], document) == (405, "GET, HEAD", {"message": "read only"})


def test_too_many_requests_are_turned_away() -> None:
    """Beyond the limit the answer is 429, and says when to come again."""
    with serving(RateLimit(3.0)) as port, closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        answers = [ask(connection, "GET", "/user/0")[0] for _ in range(12)]
    statuses = [response.status for response in answers]
    assert statuses[:3] == [404, 404, 404]
    assert statuses.count(429) >= 7
    assert {response.headers["Retry-After"] for response in answers if response.status == 429} == {"1"}


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """One line with the address and what to do, and status 1."""
    with serving(RateLimit(None)) as port:
        assert main(["api", "--port", str(port), "--users", "5", "--films", "5"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"simulate: cannot listen on 127.0.0.1:{port}: Address already in use; ")
    assert "choose another --port" in error
    assert error.count("\n") == 1
