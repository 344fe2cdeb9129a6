"""The monitoring's own tools, each in the image that docker-compose.yml names for it."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TOOL_SECONDS = 180.0


@cache
def docker_client() -> str:
    """The docker client that the project calls."""
    command = [str(ROOT / "scripts" / "lib" / "docker.sh")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def image_of(service: str) -> str:
    """The image of a service of the stack."""
    text = re.search(
        rf"^  {service}:\n(?:    .*\n)*?    image: (\S+)$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE
    )
    assert text is not None, f"docker-compose.yml names no image of {service}"
    return text[1]


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One call of docker. Raises AssertionError with what it said where it fails."""
    done = subprocess.run(
        [docker_client(), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TOOL_SECONDS,
        check=False,
    )
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done


def tool(service: str, program: str, *arguments: str, folder: Path | None = None, check: bool = True) -> str:
    """Run a program of a service's image, with the project at /project and `folder` at /folder; all that it said."""
    mounts = ["-v", f"{ROOT}:/project:ro", *(["-v", f"{folder}:/folder:ro"] if folder else [])]
    options = ["--rm", "--network", "none", "--user", "0:0", "-w", "/project", *mounts, "--entrypoint", program]
    done = docker("run", *options, image_of(service), *arguments, check=check)
    return done.stdout + done.stderr
