"""Direct requests to a service, past NGINX. Their header `X-Shadow` keeps the answers out of the journal.

They go by http.client: the shadow compares milliseconds, and `requests` would take a large part of each.
"""

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
CHECK_SECONDS = 0.5
# No user has this id: the answer is the popular list.
UNKNOWN_USER = 2**63 - 1


class UnhealthyError(RunError):
    """A service that was started is unhealthy. The fault is its version's, not the engine's. The message describes it."""


class ProbeError(UnhealthyError):
    """A service does not answer as it should; the message names it and the fault."""


class ProbeAnswer(NamedTuple):
    """The result of one request: the films (empty where it failed), and the time in seconds."""

    user: int
    films: tuple[str, ...]
    seconds: float


def readiness(address: str, seconds: float = SECONDS) -> dict[str, Any]:
    """The answer of `/readyz`. Raises ProbeError where there is none, or the service is not ready."""
    try:
        with closing(http.client.HTTPConnection(address, PORT, timeout=seconds)) as connection:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            report: dict[str, Any] = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ProbeError(f"{address} gives no answer about its readiness ({error})") from error
    if answer.status != 200:
        raise ProbeError(f"{address} is not ready: {'; '.join(map(str, report.get('reasons', ['it gives no reason'])))}")
    return report


def wait_ready(address: str, seconds: float, check: Callable[[], None]) -> dict[str, Any]:
    """What `/readyz` tells once it is ready. Raises ProbeError after `seconds`, and what `check`, called meanwhile, raises."""
    until = time.monotonic() + seconds
    while True:
        check()
        try:
            return readiness(address)
        except ProbeError:
            if time.monotonic() > until:
                raise
        time.sleep(0.25)


def request_lists(
    addresses: Sequence[str], users: Sequence[int], until: float = math.inf, check: Callable[[], None] = lambda: None
) -> list[list[ProbeAnswer]]:
    """Request the lists of `users` from each of `addresses`, one after the other for each user, by a few clients at once.

    Of users who are not reached before `until`, of the monotonic clock, there is nothing. What `check` raises ends it.
    """
    found: list[list[ProbeAnswer]] = [[] for _ in addresses]
    left, lock, is_over = iter(users), threading.Lock(), threading.Event()

    def client() -> None:
        connections = [http.client.HTTPConnection(address, PORT, timeout=SECONDS) for address in addresses]
        for user in _taken(left, lock):
            answers = [_request_list(connection, user) for connection in connections]
            with lock:
                if is_over.is_set():
                    break
                for each, one in zip(found, answers, strict=True):
                    each.append(one)
        for connection in connections:
            connection.close()

    threads = [threading.Thread(target=client, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        _wait(threads, until, check)
    finally:
        with lock:  # what a client still waits for comes too late
            is_over.set()
    return found


def _wait(threads: Sequence[threading.Thread], until: float, check: Callable[[], None]) -> None:
    for thread in threads:
        while thread.is_alive() and time.monotonic() < until:
            check()
            thread.join(CHECK_SECONDS)


def _taken(left: Iterator[int], lock: threading.Lock) -> Iterator[int]:
    while True:
        with lock:
            user = next(left, None)
        if user is None:
            return
        yield user


def _request_list(connection: http.client.HTTPConnection, user: int) -> ProbeAnswer:
    began = time.perf_counter()
    films: tuple[str, ...] = ()
    try:
        connection.request("GET", f"/recommend/{user}", headers=HEADERS)
        answer = connection.getresponse()
        body = answer.read().decode()
        films = tuple(body.split(",")) if answer.status == 200 and body else ()
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()
    return ProbeAnswer(user, films, time.perf_counter() - began)


def smoke(address: str, version: int, track: str, users: Sequence[int]) -> None:
    """Check that the service is ready and of that version and track, and answers `users`, which warms it up. Raises ProbeError.

    A few failed answers are left to the bake.
    """
    report = readiness(address)
    if (report.get("version"), report.get("track")) != (version, track):
        raise ProbeError(f"{address} is version {report.get('version')}, {report.get('track')}: not version {version}, {track}")
    (answers,) = request_lists([address], users)
    failed = [each.user for each in answers if not each.films]
    if len(failed) > MOST_FAILED * len(answers):
        raise ProbeError(f"{len(failed)} of {len(answers)} first answers failed")
