"""Loads that cost little themselves: a closed loop over plain sockets, and an open loop that keeps its rate whatever comes."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 64
DRAIN_SECONDS = 10.0


def closed_loop(port: int, requests: int, users: int, clients: int = 4) -> float:
    """`clients` connections ask one after the other; requests/s. Raises RuntimeError for an answer that is not 200."""
    threads = [_Failing(target=_ask_in_turn, args=(port, range(at, requests, clients), users)) for at in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return requests / (time.perf_counter() - start)


def open_loop(port: int, rate: float, seconds: float, users: int) -> list[float]:
    """Ask at a fixed rate over many connections; the seconds from the moment each request was due to its answer, sorted.

    A request that finds no free connection waits for one, and its waiting counts: an open loop does not spare a slow server.
    """
    loop = _OpenLoop(port, users)
    try:
        return sorted(loop.run(rate, int(rate * seconds)))
    finally:
        loop.close()


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed."""
    return values[min(int(len(values) * share), len(values) - 1)]


class _Failing(threading.Thread):
    """A thread whose error reaches whoever joins it."""

    error: BaseException | None = None

    def run(self) -> None:
        try:
            super().run()
        except (OSError, RuntimeError) as error:
            self.error = error

    def join(self, timeout: float | None = None) -> None:
        super().join(timeout)
        if self.error is not None:
            raise self.error


def _request(user: int) -> bytes:
    return f"GET /recommend/{user} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"not an answer: {answer[:200]!r}")
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    return len(body) >= int(head[at : at + 12].split(b"\r\n")[0])


def _ask_in_turn(port: int, numbers: range, users: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in numbers:
            connection.sendall(_request(number * 7919 % users))
            answer = b""
            while not _is_whole(answer):
                answer += _some(connection)


def _some(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    if not received:
        raise RuntimeError("the server closed the connection")
    return received


class _OpenLoop:
    def __init__(self, port: int, users: int) -> None:
        self._users = users
        self._selector = selectors.DefaultSelector()
        self._free: deque[socket.socket] = deque()
        self._due: dict[socket.socket, float] = {}
        self._answers: dict[socket.socket, bytes] = {}
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port), 10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ)
            self._free.append(connection)

    def run(self, rate: float, requests: int) -> Iterator[float]:
        start, sent, got = time.perf_counter() + 0.01, 0, 0
        give_up = start + requests / rate + DRAIN_SECONDS
        while got < requests:
            now = time.perf_counter()
            if now > give_up:
                raise RuntimeError(f"{requests - got} of {requests} requests were not answered in time")
            while sent < requests and start + sent / rate <= now and self._free:
                self._send(start + sent / rate, sent)
                sent += 1
            wait = 0.05 if sent == requests or not self._free else max(start + sent / rate - time.perf_counter(), 0)
            for latency in self._receive(wait):
                got += 1
                yield latency

    def _send(self, due: float, number: int) -> None:
        connection = self._free.popleft()
        self._due[connection], self._answers[connection] = due, b""
        connection.sendall(_request(number * 7919 % self._users))

    def _receive(self, wait: float) -> Iterator[float]:
        for key, _ in self._selector.select(wait):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            self._answers[connection] += _some(connection)
            if _is_whole(self._answers[connection]):
                self._free.append(connection)
                yield time.perf_counter() - self._due[connection]

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
