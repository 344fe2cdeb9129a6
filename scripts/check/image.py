"""The image of this checkout: built, started as confined as in the stack, asked, and gone again."""

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

    from scripts.check.place import Place

BUILD_SECONDS = 1800.0
READY_SECONDS = 60.0
# Asked inside the container: where docker runs elsewhere, its ports are not this machine's.
ASK = (
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


def check(place: Place) -> list[str]:
    """What was found right. Raises RefusedError or DockerError for what is not."""
    tag = f"movierec-check:{uuid.uuid4().hex[:12]}"
    begun = time.monotonic()
    try:
        run(build(client(), tag, place.places.root), timeout=BUILD_SECONDS)
        built = time.monotonic() - begun
        with _running(tag) as container:
            ready, *lists = _ask(container, "/readyz", "/recommend/1", f"/recommend/{2**63 - 1}").splitlines()
    finally:
        _quietly("image", "rm", "--force", tag)
    wrong = judge(json.loads(ready), lists, place.number)
    if wrong:
        raise RefusedError("; ".join(wrong))
    return [f"the image is built in {built:.0f} s", f"a container answers: {ready}", f"it recommends: {lists[0]}"]


def judge(ready: dict[str, Any], lists: list[str], number: int) -> list[str]:
    """What is wrong with the answers; `number` is the version that git names, 0 for none yet. Pure."""
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


def _ask(container: str, *paths: str) -> str:
    """What it answers, as soon as it answers. Raises RefusedError with its last words where it does not."""
    until = time.monotonic() + READY_SECONDS
    while True:
        try:
            return docker("exec", container, "python", "-c", ASK, *paths)
        except DockerError as error:
            if time.monotonic() > until:
                words = docker("logs", "--tail", "5", container).strip() or str(error).splitlines()[-1]
                raise RefusedError(f"no answer from the image within {READY_SECONDS:.0f} s: {words}") from error
            time.sleep(0.5)


def _quietly(*arguments: str) -> None:
    """Clean up; a failure of that must not hide the first one."""
    try:
        docker(*arguments)
    except DockerError:
        return
