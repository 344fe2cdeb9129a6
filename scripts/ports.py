"""Ports of this machine that one process reserves until it ends.

A port can be free when it is chosen and taken before a server listens there, by another process or by an outgoing connection.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

# Below the ports that Linux gives to outgoing connections.
PORTS = range(15_000, 32_000)
TRIES = 10_000

_reserved: set[int] = set()


def reserve(count: int = 1) -> list[int]:
    """`count` ports that nobody listens on, and that no other call of this function gets while this process lives.

    Raises OSError when there are not as many.
    """
    found: list[int] = []
    for _ in range(TRIES):
        if len(found) == count:
            return found
        if _is_mine(port := random.choice(PORTS)):  # noqa: S311 - it need not be hard to guess
            found.append(port)
    raise OSError(f"only {len(found)} of {count} ports between {PORTS.start} and {PORTS.stop} are free")


def _is_mine(port: int) -> bool:
    """Lock the byte at `port` of the table: the system gives the lock back when this process ends, however it ends."""
    if port in _reserved:
        return False
    try:
        fcntl.lockf(_table(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        socket.create_server(("", port)).close()
    except OSError:
        return False
    _reserved.add(port)
    return True


@cache
def _table() -> int:
    """The file of the locks, opened once: a second close would give all of them back."""
    path = Path(tempfile.gettempdir()) / f"movierec-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
