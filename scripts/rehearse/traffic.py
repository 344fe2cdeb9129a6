"""The simulator's visits during a release, and their results."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
SUMMARY = re.compile(r"requests (\d+), ok (\d+), failed (\d+)(?: \((.*?)\))?(?:, p50 ([\d.]+) ms, p99 ([\d.]+) ms)?")
END_SECONDS = 30.0
UNENDING = 100_000_000


@dataclass(frozen=True)
class Visits:
    """The results of all visits. `kinds`: the failures by kind, as text. `p99` in milliseconds."""

    requests: int = 0
    failed: int = 0
    kinds: str = ""
    p99: float = 0.0


def read_summary(text: str) -> Visits:
    """Read the last summary in the simulator's output. Raises RunError if the output has no summary."""
    found = SUMMARY.findall(text)
    if not found:
        raise RunError(f"the simulator printed no summary; its output ends with {text[-500:]!r}")
    requests, _, failed, kinds, _, p99 = found[-1]
    return Visits(int(requests), int(failed), kinds, float(p99 or 0))


class Traffic:
    """Runs `scripts/simulate visit` at `rate` visits a second, from `start` to `stop`; without visits if the rate is 0.

    `users` is a file of ids; without one the visitors are strangers mostly. `host` is the address of NGINX.
    """

    def __init__(
        self,
        port: int,
        rate: float,
        output: Path,
        environment: Mapping[str, str],
        users: Path | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._command = [
            *(sys.executable, "-m", "scripts.simulator", "visit", "--url", f"http://{host}:{port}"),
            *("--rate", f"{rate:g}", "--count", str(UNENDING), "--output", str(output), "--quiet"),
            *(() if users is None else ("--users", str(users))),
        ]
        self._rate = rate
        self._environment = dict(environment)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the simulator."""
        if self._rate:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )

    def stop(self) -> Visits:
        """Stop the simulator after its open visits. Raises RunError if the simulator failed or does not end."""
        if self._process is None:
            return Visits()
        process, self._process = self._process, None
        process.send_signal(signal.SIGINT)
        try:
            _, output = process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise RunError(f"the simulator did not end within {END_SECONDS:g} s") from error
        return read_summary(output)
