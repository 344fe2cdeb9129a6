from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from app.journal import from_line
from app.track import READ_SECONDS
from scripts.ports import reserve
from tests.integration.conftest import Server, handles_signals, wait_until
from tests.unit.app import samples
from tests.unit.app.crashes import rounds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FULL_LIST = ",".join(samples.FILMS[:20]).encode()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sound artifact."""
    return samples.save(tmp_path / "model")


def failure(server: Server) -> str:
    """Start a server that ends by itself; the one line that says why."""
    server.spawn()
    assert server.wait() not in {0, None}
    lines = [line for line in server.errors().splitlines() if not line.startswith("[")]
    assert len(lines) == 1, server.errors()
    return lines[0]


class Client(threading.Thread):
    """Asks over one connection until the server says that it closes it."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._port = server.port
        self.ids: list[str] = []
        self.failure = ""
        self.enough = threading.Event()
        self.told_to_close = False

    def run(self) -> None:
        """Ask, and note what came back or failed."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            while not (self.enough.is_set() or self.told_to_close or self.failure):
                self._ask(connection)
        except (OSError, http.client.HTTPException) as error:
            self.failure = repr(error)
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        connection.request("GET", "/recommend/5")
        response = connection.getresponse()
        body = response.read()
        if (response.status, body) != (200, FULL_LIST):
            self.failure = f"{response.status} {body!r}"
        self.ids.append(response.headers["X-Answer-ID"])
        self.told_to_close = response.headers["Connection"] == "close"


def journalled(server: Server) -> set[str]:
    """The answer ids of all journals."""
    paths = server.journals.glob("*/*.tsv")
    return {from_line(line).answer_id for path in paths for line in path.read_bytes().splitlines(keepends=True)}


def test_a_missing_model_ends_the_start_with_one_line(make_server: Callable[..., Server], tmp_path: Path) -> None:
    """No artifact: an exit status that is not 0, and the path."""
    message = failure(make_server(tmp_path / "nothing"))
    assert message == f"{tmp_path}/nothing/metadata.json: No such file or directory: is there a trained model?"


@pytest.mark.parametrize("name", ["metadata.json", "serving/top.npy"])
def test_a_broken_model_ends_the_start_with_one_line(make_server: Callable[..., Server], model: Path, name: str) -> None:
    """A file that was cut: an exit status that is not 0, and the file's name."""
    os.truncate(model / name, 50)
    assert failure(make_server(model)).startswith(f"{model / name}: ")


@pytest.mark.parametrize(
    ("setting", "content"),
    [("WORKERS", "0"), ("TRACK", "beta"), ("BIND", "5000"), ("METRICS_BIND", "here:http"), ("JOURNAL_MAX_MB", "much")],
)
def test_a_bad_setting_ends_the_start_with_one_line(
    make_server: Callable[..., Server], model: Path, setting: str, content: str
) -> None:
    """A bad value: an exit status that is not 0, and the variable's name."""
    assert failure(make_server(model, **{setting: content})).startswith(f"{setting}: ")


@pytest.mark.parametrize(("setting", "message"), [("RUN_DIR", "RUN_DIR: {}/metrics: "), ("JOURNAL_DIR", "{}/stable-1: ")])
def test_a_folder_that_cannot_be_used_ends_the_start_with_one_line(
    make_server: Callable[..., Server], model: Path, tmp_path: Path, setting: str, message: str
) -> None:
    """A file in the place of a folder: an exit status that is not 0, and the path."""
    (tmp_path / "file").touch()
    assert failure(make_server(model, **{setting: str(tmp_path / "file")})).startswith(message.format(tmp_path / "file"))


def test_a_metrics_port_that_is_taken_ends_the_start_with_one_line(make_server: Callable[..., Server], model: Path) -> None:
    """Somebody listens there: an exit status that is not 0, and the setting with its address."""
    server = make_server(model)
    with socket.create_server(("127.0.0.1", server.metrics_port)):
        assert failure(server) == f"METRICS_BIND: 127.0.0.1:{server.metrics_port}: Address already in use"


def test_answers_and_metrics_are_served_on_an_ipv6_address(make_server: Callable[..., Server], model: Path) -> None:
    """BIND and METRICS_BIND take the same form of address."""
    server = make_server(model, WORKERS="1")
    server.settings |= {"BIND": f"[::1]:{server.port}", "METRICS_BIND": f"[::1]:{server.metrics_port}"}
    server.spawn()
    wait_until(lambda: server.process.poll() is not None or server.workers())
    for port, path in ((server.port, "/healthz"), (server.metrics_port, "/metrics")):
        with urllib.request.urlopen(f"http://[::1]:{port}{path}", timeout=10) as answer:
            assert answer.status == 200
    assert server.stop() == 0


def test_a_track_file_changes_answers_metrics_and_rows_of_a_running_service(
    make_server: Callable[..., Server], model: Path, tmp_path: Path
) -> None:
    """A promotion: counters go on under the next track, on each of two ports. What is no track leaves the track."""
    file = tmp_path / "track"
    file.write_text("canary")
    server = make_server(model, TRACK_FILE=str(file))
    (other,) = reserve(1)
    server.settings["BIND"] += f", 127.0.0.1:{other}"
    server.start()

    def answered(track: str) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{other}/recommend/5", timeout=10) as answer:
            return bool(answer.headers["X-Track"] == track)

    def counts(track: str) -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=10) as scraped:
            return [line for line in scraped.read().decode().splitlines() if f'track="{track}"' in line]

    assert answered("canary")
    counted = counts("canary")
    assert any(line.startswith("service_start_time_seconds") for line in counted)
    file.write_text("stable")
    # Two workers take turns, and each of them reads the file by itself.
    wait_until(lambda: all(answered("stable") for _ in range(20)))
    wait_until(lambda: not counts("canary"))
    assert len(counts("stable")) >= len(counted)
    assert json.loads(server.ask("/readyz").body)["track"] == "stable"
    file.write_text("neither")
    time.sleep(2 * READ_SECONDS)
    assert answered("stable")
    assert server.stop() == 0
    lines = [
        line for file in server.journals.rglob("*") if file.is_file() for line in file.read_bytes().splitlines(keepends=True)
    ]
    assert {from_line(line).track for line in lines} == {"canary", "stable"}


def test_stopping_frees_the_ports(make_server: Callable[..., Server], model: Path) -> None:
    """TERM: status 0, and both ports can be had at once."""
    server = make_server(model)
    server.start()
    workers = server.workers()
    assert server.stop() == 0
    for port in (server.port, server.metrics_port):
        socket.create_server(("127.0.0.1", port)).close()
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_term_loses_no_request_in_flight(make_server: Callable[..., Server], model: Path) -> None:
    """Clients that ask without a pause while the service is stopped: each gets every answer, the last one saying so."""
    server = make_server(model)
    server.start()
    clients = [Client(server) for _ in range(8)]
    for client in clients:
        client.start()
    wait_until(lambda: all(len(client.ids) >= 20 for client in clients))
    assert server.stop() == 0
    for client in clients:
        client.join(10)
    assert [client.failure for client in clients if client.failure] == []
    assert all(client.told_to_close for client in clients)
    assert {each for client in clients for each in client.ids} == journalled(server)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_stopping_service_refuses_new_connections_and_answers_the_kept_ones(
    make_server: Callable[..., Server], model: Path, number: int, status: int
) -> None:
    """The kernel accepts none that nobody would serve, so a proxy tries another service. Also if the master was killed."""
    server = make_server(model)
    server.start()
    workers = server.workers()

    def refused() -> bool:
        try:
            with server.raw() as connection:
                connection.settimeout(10)
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
                assert connection.recv(100) != b""
        except ConnectionError:
            return True
        return False

    with server.connection() as kept:
        kept.request("GET", "/healthz")
        kept.getresponse().read()
        server.process.send_signal(number)
        wait_until(refused)
        kept.request("GET", "/recommend/5")
        answer = kept.getresponse()
        assert (answer.read(), answer.headers["Connection"]) == (FULL_LIST, "close")
    assert server.wait() == status
    wait_until(lambda: not any(handles_signals(pid) for pid in workers))


def test_a_worker_that_stops_alone_leaves_the_port_to_the_others(make_server: Callable[..., Server], model: Path) -> None:
    """TERM for one of two workers: new connections go to the other one, and to its replacement."""
    server = make_server(model)
    server.start()
    ends, _ = server.workers()
    os.kill(ends, signal.SIGTERM)
    wait_until(lambda: server.ask("/healthz").status == 200 and ends not in server.workers() and len(server.workers()) == 2)
    assert server.stop() == 0


def test_a_request_that_was_read_half_is_answered_after_term(make_server: Callable[..., Server], model: Path) -> None:
    """A request whose second half comes after TERM gets its whole list."""
    server = make_server(model, WORKERS="1")
    server.start()
    with server.raw() as connection:
        connection.sendall(b"GET /recommend/5 HTTP/1.1\r\nHost: ")
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        connection.sendall(b"here\r\n\r\n")
        heard = b"".join(iter(lambda: connection.recv(100_000), b""))
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in heard
    assert heard.endswith(FULL_LIST)
    assert server.wait() == 0


@pytest.mark.crash
def test_a_killed_worker_is_replaced_and_its_answers_have_rows(
    make_server: Callable[..., Server], model: Path, request: pytest.FixtureRequest
) -> None:
    """Kill -9 of a worker under load: another takes its place, whoever got an answer is in a journal, no line is half."""
    server = make_server(model)
    server.start()
    answered: set[str] = set()
    for chance in rounds(request, 3):
        clients = [Client(server) for _ in range(6)]
        for client in clients:
            client.start()
        wait_until(lambda clients=clients: sum(len(client.ids) for client in clients) > 200)  # type: ignore[misc]
        time.sleep(0.1 * chance.random())
        workers = server.workers()
        os.kill(chance.choice(workers), signal.SIGKILL)
        wait_until(lambda workers=workers: len(server.workers()) == 2 and set(server.workers()) != set(workers))  # type: ignore[misc]
        assert server.ask("/recommend/5").body == FULL_LIST
        for client in clients:
            client.enough.set()
            client.join(10)
        answered.update(each for client in clients for each in client.ids)
        assert answered <= journalled(server)
    assert server.stop() == 0


@pytest.mark.crash
def test_a_killed_service_leaves_every_answer_in_its_journals(
    make_server: Callable[..., Server], model: Path, request: pytest.FixtureRequest
) -> None:
    """Kill -9 of master and workers at once: whoever got an answer is in a journal, and it starts again over its remains."""
    server = make_server(model)
    answered: set[str] = set()
    for number, chance in enumerate(rounds(request, 2), 1):
        server.start()
        clients = [Client(server) for _ in range(6)]
        for client in clients:
            client.start()
        wait_until(lambda clients=clients: sum(len(client.ids) for client in clients) > 200)  # type: ignore[misc]
        time.sleep(0.1 * chance.random())
        os.killpg(server.process.pid, signal.SIGKILL)
        server.wait()
        for client in clients:
            client.join(10)
        answered.update(each for client in clients for each in client.ids)
        rows = journalled(server)
        assert answered <= rows
        assert len(rows - answered) <= len(clients) * number
