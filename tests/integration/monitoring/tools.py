"""The monitoring's own tools, each in the image that docker-compose.yml names for it."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.ports import reserve
from tests.integration.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


@contextmanager
def prometheus_with(folder: Path, history: Iterable[str], lookback: str = "5m") -> Iterator[str]:
    """The URL of a real Prometheus that has scraped `history`, lines of OpenMetrics text. Its files are in `folder`.

    A series that ends in the history is seen for `lookback` more, because the text cannot say that it ended.
    """
    (folder / "history.txt").write_text("\n".join([*history, "# EOF", ""]))
    (folder / "prometheus.yml").write_text("{}\n")
    (folder / "data").mkdir()
    (port,), image = reserve(), image_of("prometheus")
    with_folder = ["--rm", "--user", "0:0", "-v", f"{folder}:/folder"]
    made = ["tsdb", "create-blocks-from", "openmetrics", "/folder/history.txt", "/folder/data"]
    docker("run", *with_folder, "--network", "none", "--entrypoint", "promtool", image, *made)
    options = ["--config.file=/folder/prometheus.yml", "--storage.tsdb.path=/folder/data", f"--query.lookback-delta={lookback}"]
    listen = f"--web.listen-address=127.0.0.1:{port}"
    started = docker("run", "-d", *with_folder, "--network", "host", image, *options, listen)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _is_ready(url), 30)
        yield url
    finally:
        docker("rm", "-f", started.stdout.strip(), check=False)


def _is_ready(url: str) -> bool:
    """Whether Prometheus answers queries."""
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
