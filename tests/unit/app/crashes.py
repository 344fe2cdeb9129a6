"""Processes to kill: Python code in a child of our own, and how many rounds of it a run does."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """`code` in a Python of its own, its output in a pipe; killed at the end if it still runs."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def run(code: str, *arguments: object) -> str:
    """`code` in a Python of its own, to its end; what it printed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def rounds(request: pytest.FixtureRequest, sample: int) -> Iterator[random.Random]:
    """`sample` rounds, each with the same chance in every run; more of them while the soak goes on."""
    share = 3600 * float(request.config.getoption("--soak-hours")) / len(request.session.items)
    until, number = time.monotonic() + share, 0
    while number < sample or time.monotonic() < until:
        print(f"round {number}")
        yield random.Random(number)
        number += 1


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for `condition`; an assertion fails where it does not come."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)
