"""Visits to a small real server that answers well, late, badly or not at all, as the visitor's id asks for."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import TYPE_CHECKING

import pytest

from scripts.simulator import StreamOptions, World, stream_lines
from scripts.simulator.__main__ import main
from scripts.simulator.service import ServiceClient
from tests.http_server import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = b"film+one+1999,film_+two+2004"
BODIES = {"blank": b"a+1999, b+2000", "twice": b"a+1999,a+1999", "empty": b"", "line": GOOD + b"\n"}


class RecommenderServer(ThreadingHTTPServer):
    """Counts connections and requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = Lock()
        self.connections = 0
        self.requested = Counter[str]()
        self.arrivals: list[float] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers as the last part of the path says."""

    server: RecommenderServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def setup(self) -> None:
        """Count the connection."""
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def do_GET(self) -> None:
        """Answer as the visitor's id says."""
        user = self.path.removeprefix("/recommend/")
        with self.server.lock:
            self.server.requested[user] += 1
            self.server.arrivals.append(time.monotonic())
        if user == "late":
            time.sleep(0.6)
        if user == "gone":
            self.close_connection = True
            return
        self.send_response(500 if user == "broken" else 200)
        body = BODIES.get(user, GOOD)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.drip(body) if user == "drip" else self.wfile.write(body)
        # Closed without a word, as servers do with connections that have been idle for long.
        self.close_connection = user == "last"

    def drip(self, body: bytes) -> None:
        """Send a byte now and then."""
        for place in range(len(body)):
            self.wfile.write(body[place : place + 1])
            self.wfile.flush()
            time.sleep(0.05)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """Bear with clients that gave up."""
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def finish(self) -> None:
        """Bear with clients that gave up."""
        try:
            super().finish()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


@pytest.fixture
def service() -> Iterator[RecommenderServer]:
    """A server of its own for each test."""
    with running(RecommenderServer()) as server:
        yield server


def visit(tmp_path: Path, url: str, users: list[str], *options: str) -> tuple[int, list[str]]:
    """Visit as these users; give the status and the lines written."""
    listed, output = tmp_path / "users", tmp_path / "visits.log"
    listed.write_text("\n".join(users))
    status = main(["visit", "--url", url, "--users", str(listed), "--output", str(output), "--quiet", *options])
    return status, output.read_text().splitlines()


def test_good_answers_end_with_status_0(service: RecommenderServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every visit leaves a success in the log, the summary counts them, and each client keeps one connection."""
    status, lines = visit(tmp_path, service.url, ["1", "2", "3"], "--count", "60", "--clients", "4")
    assert status == 0
    server = service.url.removeprefix("http://")
    form = (
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}},[123],recommendation request {server}, status 200, "
        r"result: film\+one\+1999, film_\+two\+2004, \d+ ms"
    )
    assert len(lines) == 60
    assert all(re.fullmatch(form, line) for line in lines)
    assert service.requested == {"1": 20, "2": 20, "3": 20}
    assert service.connections <= 4
    assert re.fullmatch(r"simulate: requests 60, ok 60, failed 0, p50 [0-9.]+ ms, p99 [0-9.]+ ms\n", capsys.readouterr().err)


def test_failures_are_reported_by_kind_with_status_1(
    service: RecommenderServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another status, malformed bodies and a lost connection each leave a line that is no success."""
    users = ["1", "broken", "blank", "twice", "empty", "line", "gone"]
    status, lines = visit(tmp_path, service.url, users, "--count", "7", "--clients", "1")
    assert status == 1
    results = [line.split("request ", 1)[1].split(", ", 1)[1].rsplit(", ", 1)[0] for line in lines]
    assert results[0] == "status 200, result: film+one+1999, film_+two+2004"
    assert results[1] == "status 500, result: film+one+1999,film_+two+2004"
    assert results[2] == "status 0, result: malformed answer: a blank or a line break"
    assert results[3] == "status 0, result: malformed answer: an id twice"
    assert results[4] == "status 0, result: malformed answer: empty"
    assert results[5] == "status 0, result: malformed answer: a blank or a line break"
    assert results[6].startswith("status 0, result: java.io.IOException: ")
    assert "ok 1, failed 6 (malformed 4, status 500 1, connection 1)" in capsys.readouterr().err


@pytest.mark.parametrize("user", ["late", "drip"])
def test_a_late_answer_is_given_up(service: RecommenderServer, tmp_path: Path, user: str) -> None:
    """After the time-out the visit is over, also when bytes go on trickling in; the next one is served well."""
    status, lines = visit(tmp_path, service.url, [user, "1"], "--count", "2", "--clients", "1", "--timeout-ms", "200")
    assert status == 1
    assert "status 0, result: java.util.concurrent.TimeoutException: Request timeout to 127.0.0.1" in lines[0]
    assert " after 200 ms, " in lines[0]
    assert 195 <= int(lines[0].split()[-2]) < 550
    assert "status 200" in lines[1]


def test_a_connection_closed_while_idle_is_no_failure(service: RecommenderServer, tmp_path: Path) -> None:
    """A server may let a kept connection go; the visit is made again on a new one."""
    status, lines = visit(tmp_path, service.url, ["last", "2", "3"], "--count", "6", "--clients", "1")
    assert status == 0
    assert len(lines) == 6
    assert service.connections == 3


def test_nobody_there_is_a_failed_connection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing listens, all visits fail, each in its line."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        status, lines = visit(tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}", ["1"], "--count", "3")
    assert status == 1
    assert all("status 0, result: java.net.ConnectException: " in line for line in lines)
    assert "failed 3 (connection 3)" in capsys.readouterr().err


def test_at_a_rate_visits_begin_on_time_whatever_becomes_of_others(service: RecommenderServer, tmp_path: Path) -> None:
    """30 visits at 50 a second take 0.58 s to begin, though waiting for the 10 that are given up would take 3 s."""
    begun = time.monotonic()
    users = ["late", "1", "2"]
    status, lines = visit(tmp_path, service.url, users, "--count", "30", "--rate", "50", "--timeout-ms", "300")
    assert status == 1
    assert len(lines) == 30
    assert max(service.arrivals) - begun >= 29 / 50
    assert max(service.arrivals) - min(service.arrivals) <= 2


def test_an_id_is_escaped(service: RecommenderServer, tmp_path: Path) -> None:
    """An invalid id from the list reaches the service as one part of the path."""
    status, _ = visit(tmp_path, service.url, ["a b/../?c"], "--count", "1")
    assert status == 0
    assert service.requested == {"a%20b%2F..%2F%3Fc": 1}


def test_a_client_opens_its_connection_again(service: RecommenderServer) -> None:
    """After a failure the same client goes on."""
    with closing(ServiceClient(service.url, 1000)) as client:
        failures = [client.ask(user).failure for user in ("1", "gone", "2", "broken", "3")]
    assert failures == ["", "connection", "", "status 500", ""]


def test_a_stream_asks_a_real_service(service: RecommenderServer) -> None:
    """Each request of a stream goes to the service, and its answer, real time and all, stands in the line."""
    world = World.generate(3, users=50, films=40)
    options = StreamOptions(lines=3000, recommender=service.url, request_share=1.0)
    requests = [line for line in stream_lines(world, options) if "recommendation request" in line]
    assert len(requests) >= 10
    assert sum(service.requested.values()) >= len(requests)
    assert {line.split(",")[1] for line in requests} <= set(service.requested)
    server = service.url.removeprefix("http://")
    assert all(f"request {server}, status 200, result: film+one+1999, film_+two+2004, " in line for line in requests)


def test_users_of_a_stream_follow_the_service(service: RecommenderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Films that the service recommends are watched far more often when the uplift is large."""
    world = World.generate(3, users=50, films=40)
    offered = world.films.ids[30:33]
    monkeypatch.setitem(BODIES, "", b"")
    for user in world.users.ids.tolist():
        monkeypatch.setitem(BODIES, str(user), ",".join(offered).encode())

    def watched(uplift: float) -> int:
        options = StreamOptions(
            ratings=60, rating_share=1.0, minutes_share=0.0, recommender=service.url, request_share=1.0, uplift=uplift
        )
        return sum(film in line for line in stream_lines(world, options) if "/rate/" in line for film in offered)

    assert watched(200.0) > watched(0.0) + 20
