from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from scripts import ports

ROOT = Path(__file__).resolve().parents[3]
OTHER = "from scripts import ports; ports.PORTS = range({port}, {port} + 1); ports.TRIES = 3; ports.reserve()"


def other_process(port: int) -> subprocess.CompletedProcess[str]:
    """Another process that tries to reserve this port."""
    command = [sys.executable, "-c", OTHER.format(port=port)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_a_reserved_port_is_no_other_calls() -> None:
    """Not in this process and not in another one, though nobody listens there yet."""
    found = ports.reserve(50)
    assert len(set(found)) == 50
    assert not set(ports.reserve(50)) & set(found)
    assert "OSError: only 0 of 1 ports" in other_process(found[0]).stderr


def test_a_process_that_ends_gives_its_ports_back() -> None:
    """Also when it was killed: the system does it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        port = int(held.getsockname()[1])
    assert [other_process(port).returncode for _ in range(2)] == [0, 0]


def test_a_port_where_somebody_listens_is_not_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any address of the machine."""
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        port = int(held.getsockname()[1])
        monkeypatch.setattr(ports, "PORTS", range(port, port + 1))
        monkeypatch.setattr(ports, "TRIES", 3)
        with pytest.raises(OSError, match="only 0 of 1 ports"):
            ports.reserve()
