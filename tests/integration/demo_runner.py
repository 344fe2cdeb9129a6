"""Runs `scripts/dev demo` as a user would, in a folder of the test's own."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from scripts.ports import reserve

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS, STOP_SECONDS = 300.0, 120.0
SERVICES = ("stable-1", "stable-2", "canary")  # as upstream.conf has them


class Demo:
    """A demo in `folder`, with what a test wants to know of it."""

    task, ready = "demo", "Ctrl-C stops everything"

    def __init__(self, folder: Path, *arguments: str, ranker: str = "popularity", **environment: str) -> None:
        """Most tests do not care what ranks, and popularity is the quickest."""
        self.folder = folder
        self.port, self.console_port = reserve(2)
        ports = ["--port", str(self.port), "--console-port", str(self.console_port)]
        self._command = [str(ROOT / "scripts" / "dev"), self.task, "--folder", str(folder), *ports, *arguments]
        self._environment = {**os.environ, "RANKER": ranker, **environment}
        self._process: subprocess.Popen[str] | None = None

    def run(self, timeout: float = START_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self._command, env=self._environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_for(self.ready)

    def launch(self) -> None:
        """Start it and do not wait."""
        output = (self.folder.parent / f"{self.folder.name}.out").open("w")
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=output, stderr=subprocess.STDOUT, text=True
        )
        output.close()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed a text."""
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while text not in self.output():
            assert self._process.poll() is None, self.output()
            assert time.monotonic() < until, self.output()
            time.sleep(0.1)

    def output(self) -> str:
        """Its output so far."""
        return (self.folder.parent / f"{self.folder.name}.out").read_text()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send it a signal and wait for its end; its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(STOP_SECONDS)

    def pid(self, name: str) -> int:
        """The number of one of its processes."""
        return int((self.folder / "pids" / f"{name}.pid").read_text())

    def kill(self, name: str) -> None:
        """Kill a service with -9, master and workers at once."""
        os.killpg(self.pid(name), signal.SIGKILL)

    def is_back(self, name: str) -> bool:
        """Whether a service answers on its own port."""
        servers = re.findall(r"server (\S+) weight", (self.folder / "nginx" / "place" / "upstream.conf").read_text())
        address = dict(zip(SERVICES, servers, strict=True))[name]
        try:
            with urllib.request.urlopen(f"http://{address}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def processes(self) -> list[str]:
        """The command lines of all processes that name its folder or that it started."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                found.extend(self._command_line(entry))
        return found

    def _command_line(self, entry: Path) -> list[str]:
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            return []
        mine = str(self.folder)
        return [line] if line and (f"{mine}/" in line or f"{mine}/" in environment or f"--folder {mine} " in line) else []

    def tries(self) -> list[dict[str, Any]]:
        """NGINX's log of tries."""
        return [json.loads(line) for line in (self.folder / "nginx" / "logs" / "tries.log").read_text().splitlines()]

    def served(self) -> list[str]:
        """The answer ids in the database."""
        with closing(sqlite3.connect(self.folder / "provenance.sqlite")) as database:
            return [row[0] for row in database.execute("select answer_id from reccom")]

    def ask(self, path: str) -> tuple[int, str]:
        """One request through NGINX."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()


class Tour(Demo):
    """A tour in `folder`."""

    task, ready = "tour", "Everything stays up"
