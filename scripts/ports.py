"""Reserves ports of this machine for the life of a process.

Otherwise another process or an outgoing connection could take a free port before the server listens there.
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
    """`count` free ports. No other call of this function gets them while this process lives.

    Raises OSError if there are too few.
    """
    found: list[int] = []
    for _ in range(TRIES):
        if len(found) == count:
            return found
        if _is_mine(port := random.choice(PORTS)):  # noqa: S311 - it need not be hard to guess
            found.append(port)
    raise OSError(f"only {len(found)} of {count} ports between {PORTS.start} and {PORTS.stop} are free")


def _is_mine(port: int) -> bool:
    """Lock the byte at offset `port` of the table. The system frees the lock when this process ends, however it ends."""
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
    """The file of the locks. It is opened once, because closing a second descriptor would free all locks."""
    path = Path(tempfile.gettempdir()) / f"movierec-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
