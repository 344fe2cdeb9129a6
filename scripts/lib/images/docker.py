"""Calls the docker client. `scripts/lib/docker.sh` chooses the client for the whole project."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[3]
FINDER = ROOT / "scripts" / "lib" / "docker.sh"
FIND_SECONDS = 120.0
CALL_SECONDS = 60.0


class DockerError(RunError):
    """A call of docker failed; the text has the command and its standard error."""


@functools.cache
def client() -> str:
    """The path of the docker client. Raises DockerError if no client is usable."""
    found = subprocess.run([str(FINDER)], capture_output=True, text=True, timeout=FIND_SECONDS, check=False)
    if found.returncode:
        raise DockerError(found.stderr.strip().removeprefix("docker: "))
    return found.stdout.strip()


def docker(*arguments: str, timeout: float = CALL_SECONDS) -> str:
    """Standard output of `docker ARGUMENTS`. Raises DockerError with its standard error, or after `timeout` seconds."""
    try:
        return run([client(), *arguments], timeout=timeout)
    except FileNotFoundError as error:
        raise DockerError(f"{error.filename} is gone: run scripts/dev engine") from error


def run(command: Sequence[str], *, timeout: float) -> str:
    """Standard output of a command, in the project's root. Raises DockerError with the end of its standard error."""
    shown = " ".join(command[:6]) + (" ..." if len(command) > 6 else "")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise DockerError(f"{shown}: not done after {timeout:.0f} s") from error
    if done.returncode:
        raise DockerError(f"{shown}: status {done.returncode}: {done.stderr.strip() or done.stdout.strip() or 'no output'}")
    return done.stdout
