"""A running service: the application under Gunicorn, with settings, folders and ports of a test's own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis.configuration import set_hypothesis_home_dir
from prometheus_client.parser import text_string_to_metric_families

from app.settings import ServiceSettings, ShipperSettings
from scripts.ports import reserve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
set_hypothesis_home_dir(ROOT / ".cache" / "hypothesis")  # tools keep what they remember in .cache
START_SECONDS = 30.0
STOP_SECONDS = 30.0


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process with these settings, and without the caller's own."""
    names = {name.upper() for name in {**ServiceSettings.model_fields, **ShipperSettings.model_fields}}
    return {**{name: value for name, value in os.environ.items() if name not in names}, **settings}


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for `condition`; an assertion fails where it does not come."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def handles_signals(pid: int) -> bool:
    """Whether a worker of Gunicorn has come so far that it hears signals; ABRT is the last one that it asks for."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGABRT - 1) & 1)


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Server:
    """The application under Gunicorn. Everything it writes is below `folder`."""

    def __init__(self, folder: Path, model: Path, **settings: str) -> None:
        self.folder = folder
        self.port, self.metrics_port = reserve(2)
        self.journals = folder / "journals"
        self.settings = {
            "MODEL_DIR": str(model),
            "BIND": f"127.0.0.1:{self.port}",
            "METRICS_BIND": f"127.0.0.1:{self.metrics_port}",
            "RUN_DIR": str(folder / "run"),
            "JOURNAL_DIR": str(self.journals),
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Gunicorn's master."""
        assert self._process is not None
        return self._process

    def spawn(self) -> None:
        """Start it, in a process group of its own; what it says goes to two files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "app" / "gunicorn.conf.py"), "--chdir", str(ROOT)]
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self._process = subprocess.Popen(
                command, env=environment(self.settings), cwd=ROOT, stdout=out, stderr=err, start_new_session=True
            )

    def start(self) -> None:
        """Start it and wait until all its workers answer."""
        self.spawn()
        workers = int(self.settings.get("WORKERS", "2"))
        wait_until(lambda: self.process.poll() is not None or len(self.workers()) == workers, START_SECONDS)
        wait_until(lambda: self.process.poll() is not None or self.is_up(), START_SECONDS)
        assert self.process.poll() is None, self.errors()

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return self.ask("/healthz").status == 200
        except OSError:
            return False

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        return self.process.wait(STOP_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the master a signal and wait for its end; its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def clear(self) -> None:
        """End what still runs of it: in order if that is possible, so that nothing is left unsaid."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def workers(self) -> list[int]:
        """The numbers of the worker processes that are up: a signal before that would be lost."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except FileNotFoundError:
            return []
        return [int(pid) for pid in children if handles_signals(int(pid))]

    def output(self) -> list[str]:
        """The lines of its standard output."""
        return (self.folder / "out").read_text().splitlines()

    def errors(self) -> str:
        """Its standard error."""
        return (self.folder / "err").read_text()

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        """A connection that is kept open."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as made:
            yield made

    def ask(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        """One request over a connection of its own."""
        with self.connection() as connection:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())

    @contextmanager
    def raw(self) -> Iterator[socket.socket]:
        """A bare connection, to say what no client would."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as made:
            yield made

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """All series by name and labels."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=10)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        families = text_string_to_metric_families(text)
        return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


@pytest.fixture(scope="session")
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Makes servers for an artifact, with settings of their own; all are ended with the tests."""
    made: list[Server] = []

    def make(model: Path, **settings: str) -> Server:
        made.append(Server(tmp_path_factory.mktemp("server"), model, **settings))
        return made[-1]

    yield make
    for server in made:
        server.clear()
