"""Checks the image of this checkout: builds it, starts it confined as in the stack, requests lists, and removes it."""

from __future__ import annotations

import json
import re
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from auto_deployment.common.errors import RefusedError
from auto_deployment.release.image_commands import build
from scripts.lib.images.docker import DockerError, client, docker, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.check.checkout import Checkout

BUILD_SECONDS = 1800.0
READY_SECONDS = 60.0
# The requests are sent inside the container: docker may run on another machine, with other ports.
REQUEST = (
    "import sys, urllib.request as u\n"
    "opener = u.build_opener(u.ProxyHandler({}))\n"
    "for path in sys.argv[1:]:\n"
    "    print(opener.open('http://127.0.0.1:5000' + path, timeout=5).read().decode())\n"
)
CONFINED = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none", "--memory", "512m"),
    *("--tmpfs", "/run/movierec:uid=10001,gid=10001,mode=0700,size=64m", "--tmpfs", "/tmp:size=16m"),  # noqa: S108 - its own
)
LIST = re.compile(r"[!-+\--~]+(?:,[!-+\--~]+){0,19}")


def check(checkout: Checkout) -> list[str]:
    """A line for each check that passed. Raises RefusedError or DockerError for a failure."""
    tag = f"movierec-check:{uuid.uuid4().hex[:12]}"
    started_at = time.monotonic()
    try:
        run(build(client(), tag, checkout.places.root), timeout=BUILD_SECONDS)
        seconds = time.monotonic() - started_at
        with _running(tag) as container:
            ready, *lists = _request(container, "/readyz", "/recommend/1", f"/recommend/{2**63 - 1}").splitlines()
    finally:
        _quietly("image", "rm", "--force", tag)
    wrong = problems(json.loads(ready), lists, checkout.number)
    if wrong:
        raise RefusedError("; ".join(wrong))
    return [f"the image is built in {seconds:.0f} s", f"a container answers: {ready}", f"it recommends: {lists[0]}"]


def problems(ready: dict[str, Any], lists: list[str], number: int) -> list[str]:
    """What is wrong with the answers. `number` is the version that git names, or 0 before the first. Pure."""
    wrong = [f"it recommends {text[:80]!r}" for text in lists if not _is_list(text)]
    if number and ready.get("version") != number:
        wrong.append(f"it serves version {ready.get('version')}, version.txt says {number}")
    return wrong


def _is_list(text: str) -> bool:
    films = text.split(",")
    return LIST.fullmatch(text) is not None and len(set(films)) == len(films)


@contextmanager
def _running(tag: str) -> Iterator[str]:
    container = docker("run", "--detach", "--pull", "never", *CONFINED, tag).strip()
    try:
        yield container
    finally:
        _quietly("rm", "--force", "--volumes", container)


def _request(container: str, *paths: str) -> str:
    """The answers of the container, as soon as it is up. Raises RefusedError with the end of its log after a limit."""
    until = time.monotonic() + READY_SECONDS
    while True:
        try:
            return docker("exec", container, "python", "-c", REQUEST, *paths)
        except DockerError as error:
            if time.monotonic() > until:
                log_end = docker("logs", "--tail", "5", container).strip() or str(error).splitlines()[-1]
                raise RefusedError(f"no answer from the image within {READY_SECONDS:.0f} s: {log_end}") from error
            time.sleep(0.5)


def _quietly(*arguments: str) -> None:
    """Clean up. A failure here must not hide an earlier failure."""
    try:
        docker(*arguments)
    except DockerError:
        return
