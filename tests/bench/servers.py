"""Gunicorns to measure: the service with some of its parts, or hello, all with the service's own Gunicorn settings."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.ports import reserve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
READY_SECONDS = 20.0
WORKERS = 2
HELLO = "tests.bench.hello:app"


class Server:
    """A running Gunicorn."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port

    def workers(self) -> list[int]:
        """Its workers' process numbers."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(each) for each in children.split()]

    def processor_seconds(self) -> float:
        """User and system time of all workers so far."""
        return sum(_processor_seconds(pid) for pid in self.workers())

    def worker_memory(self, name: str) -> float:
        """The mean over the workers of a line of smaps_rollup, in MiB."""
        workers = self.workers()
        return sum(_smaps(pid, name) for pid in workers) / len(workers) / 1024

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)


@contextmanager
def server(folder: Path, name: str, environment: Mapping[str, str], application: str | None = None) -> Iterator[Server]:
    """The service, or `application`, ready to answer; its files lie under `folder`."""
    port, metrics_port = reserve(2)
    parts = {
        "SERVICE": name,
        "BIND": f"127.0.0.1:{port}",
        "METRICS_BIND": f"127.0.0.1:{metrics_port}",
        "WORKERS": str(WORKERS),
        "RUN_DIR": str(folder / "run" / name),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "app" / "gunicorn.conf.py")]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *([application] if application else [])],
            env={**os.environ, **parts, **environment},
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    running = Server(process, port)
    try:
        wait_ready(running, process, folder / f"{name}.log", WORKERS)
        yield running
    finally:
        running.stop()


def wait_ready(running: Server, process: subprocess.Popen[bytes], log: Path, workers: int) -> None:
    """Wait until a server answers with all its workers. Raises RuntimeError with the end of its log."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", running.port), 0.2).close()
        except OSError:
            time.sleep(0.02)
        else:
            if len(running.workers()) == workers:
                return
    raise RuntimeError(f"{log.stem} is not ready: {log.read_text()[-2000:]}")


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _smaps(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
