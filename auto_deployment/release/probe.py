"""A service asked directly, past NGINX: with `X-Shadow`, so that its answer is not journalled."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PORT = 5000
SECONDS = 5.0
HEADERS = {"X-Shadow": "1"}
CLIENTS = 4
MOST_FAILED = 0.05
LOOK_SECONDS = 0.5
# Nobody has such an id: the answer is the popular list.
STRANGER = 2**63 - 1


class SickError(RunError):
    """A service that was started is not well: that is its version's doing, not the engine's. The text says how."""


class DirectError(SickError):
    """A service does not answer as it should; the text says which, and how."""


class Asked(NamedTuple):
    """What came of one request: the films (empty where it failed), and the time in seconds."""

    user: int
    films: tuple[str, ...]
    seconds: float


def readiness(address: str, seconds: float = SECONDS) -> dict[str, Any]:
    """What `/readyz` tells. Raises DirectError where it does not, or is not ready."""
    try:
        with closing(http.client.HTTPConnection(address, PORT, timeout=seconds)) as connection:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            told: dict[str, Any] = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DirectError(f"{address} does not tell whether it is ready ({error})") from error
    if answer.status != 200:
        raise DirectError(f"{address} is not ready: {'; '.join(map(str, told.get('reasons', ['it does not say why'])))}")
    return told


def wait_ready(address: str, seconds: float, look: Callable[[], None]) -> dict[str, Any]:
    """What `/readyz` tells once it is ready. Raises DirectError after `seconds`, and what `look`, asked meanwhile, raises."""
    until = time.monotonic() + seconds
    while True:
        look()
        try:
            return readiness(address)
        except DirectError:
            if time.monotonic() > until:
                raise
        time.sleep(0.25)


def ask(
    addresses: Sequence[str], users: Sequence[int], until: float = math.inf, look: Callable[[], None] = lambda: None
) -> list[list[Asked]]:
    """Each of `addresses` asked for the lists of `users`, one after the other for each user, by a few clients at once.

    Of users who are not reached before `until`, of the monotonic clock, there is nothing. What `look` raises ends it.
    """
    found: list[list[Asked]] = [[] for _ in addresses]
    left, lock, is_over = iter(users), threading.Lock(), threading.Event()

    def client() -> None:
        connections = [http.client.HTTPConnection(address, PORT, timeout=SECONDS) for address in addresses]
        for user in _taken(left, lock):
            asked = [_ask(connection, user) for connection in connections]
            with lock:
                if is_over.is_set():
                    break
                for each, one in zip(found, asked, strict=True):
                    each.append(one)
        for connection in connections:
            connection.close()

    threads = [threading.Thread(target=client, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        _wait(threads, until, look)
    finally:
        with lock:  # what a client still waits for comes too late
            is_over.set()
    return found


def _wait(threads: Sequence[threading.Thread], until: float, look: Callable[[], None]) -> None:
    for thread in threads:
        while thread.is_alive() and time.monotonic() < until:
            look()
            thread.join(LOOK_SECONDS)


def _taken(left: Iterator[int], lock: threading.Lock) -> Iterator[int]:
    while True:
        with lock:
            user = next(left, None)
        if user is None:
            return
        yield user


def _ask(connection: http.client.HTTPConnection, user: int) -> Asked:
    began = time.perf_counter()
    films: tuple[str, ...] = ()
    try:
        connection.request("GET", f"/recommend/{user}", headers=HEADERS)
        answer = connection.getresponse()
        body = answer.read().decode()
        films = tuple(body.split(",")) if answer.status == 200 and body else ()
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()
    return Asked(user, films, time.perf_counter() - began)


def smoke(address: str, version: int, track: str, users: Sequence[int]) -> None:
    """The service is ready, is of that version and track, and gives `users` their lists, which warms it up. Raises DirectError.

    What fails now and then is left to the bake.
    """
    told = readiness(address)
    if (told.get("version"), told.get("track")) != (version, track):
        raise DirectError(f"{address} is version {told.get('version')}, {told.get('track')}: not version {version}, {track}")
    (asked,) = ask([address], users)
    failed = [each.user for each in asked if not each.films]
    if len(failed) > MOST_FAILED * len(asked):
        raise DirectError(f"{len(failed)} of {len(asked)} first answers failed")
