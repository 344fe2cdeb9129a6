"""The parts of the demo that decide."""

from __future__ import annotations

import fcntl
import socket
import subprocess
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.errors import RunError
from auto_deployment.common.lock import LockedError
from auto_deployment.common.progress import Progress
from scripts.demo import nginx
from scripts.demo.__main__ import _demo, _options
from scripts.demo.processes import MOST_RESTARTS, Process, Processes
from scripts.demo.settings import require_free
from scripts.ports import reserve

if TYPE_CHECKING:
    from pathlib import Path

SERVERS = [
    nginx.Upstream("127.0.0.1:1", 2, "stable"),
    nginx.Upstream("127.0.0.1:2", 2, "stable"),
    nginx.Upstream("127.0.0.1:3", 1, "canary"),
]


def test_the_canary_is_never_ejected_and_gets_a_fifth() -> None:
    """Weights 2/2/1; only stable servers are put out after failures."""
    lines = [line.strip() for line in nginx.upstream_conf(SERVERS).splitlines() if "weight=" in line]
    assert [line.split("weight=")[1][0] for line in lines] == ["2", "2", "1"]
    assert [("max_fails=0" in line) for line in lines] == [False, False, True]


def test_stable_servers_stay_reachable_while_they_are_ejected() -> None:
    """Each stable server comes again as a backup that is never ejected; the canary does not."""
    backups = [line.split()[1] for line in nginx.upstream_conf(SERVERS).splitlines() if "backup max_fails=0" in line]
    assert backups == ["127.0.0.1:1", "127.0.0.1:2"]


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    """The project's own files with the demo's ports pass NGINX's check."""
    command = nginx.prepare(tmp_path, reserve()[0], SERVERS, nginx.find_nginx())
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=20, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_configuration_that_nginx_refuses_is_reported_in_its_words(tmp_path: Path) -> None:
    """A server without a port that can be: RunError with NGINX's message."""
    with pytest.raises(RunError, match="invalid port"):
        nginx.prepare(tmp_path, 8082, [nginx.Upstream("127.0.0.1:99999", 1, "stable")], nginx.find_nginx())


def test_no_nginx_at_all_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on PATH nor for this platform: what to install."""

    def unsupported() -> Path:
        raise RuntimeError("unsupported platform")

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(nginx, "nginx_binary", unsupported)
    with pytest.raises(RunError, match="install nginx"):
        nginx.find_nginx()


def test_a_user_line_only_for_root() -> None:
    """NGINX's `user` is meant for a master that runs as root; elsewhere it warns."""
    assert "user root;" in nginx.local_files(80, SERVERS, "root")["main.conf"]
    assert "user " not in nginx.local_files(80, SERVERS, None)["main.conf"]


def test_a_taken_port_is_named() -> None:
    """RunError with the port's number."""
    with socket.create_server(("", 0)) as held, pytest.raises(RunError, match=str(held.getsockname()[1])):
        require_free("--port", held.getsockname()[1])


def test_a_demo_that_runs_already_is_named_before_its_port(tmp_path: Path) -> None:
    """That demo has the port, so its folder says more; what the folder has stays."""
    (tmp_path / "data").mkdir()
    with (tmp_path / "lock").open("a") as lock, socket.create_server(("", 0)) as held:
        fcntl.flock(lock, fcntl.LOCK_EX)
        options = _options(["--folder", str(tmp_path), "--port", str(held.getsockname()[1])])
        with pytest.raises(LockedError) as raised:
            _demo(options, Progress(StringIO()))
    words = "stop it (Ctrl-C there), or use --folder and --port"
    assert str(raised.value) == f"another demo runs in {tmp_path}: {words}"
    assert (tmp_path / "data").exists()


def test_a_taken_port_leaves_the_last_demo_as_it_was(tmp_path: Path) -> None:
    """Its logs and database may still be wanted. The message has no words of the operating system."""
    (tmp_path / "data").mkdir()
    with socket.create_server(("", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(RunError) as raised:
            _demo(_options(["--folder", str(tmp_path), "--port", str(port)]), Progress(StringIO()))
    assert str(raised.value) == f"port {port} is taken or not allowed: stop what listens there, or use --port"
    assert (tmp_path / "data").exists()


def ended(process: Process) -> None:
    """Wait for a process's end."""
    assert process.child is not None
    process.child.wait(10)


def test_a_process_that_dies_is_started_again_until_it_dies_too_often(tmp_path: Path) -> None:
    """Ten starts within a minute are enough: RunError with its last words."""
    messages: list[str] = []
    process = Process("short", ["/bin/sh", "-c", "echo no luck; exit 3"], {}, tmp_path, tmp_path)
    processes = Processes([process], messages.append)
    processes.start("short")
    for _ in range(MOST_RESTARTS - 1):
        ended(process)
        processes.restart_dead()
    ended(process)
    with pytest.raises(RunError, match="no luck"):
        processes.restart_dead()
    assert len(messages) == MOST_RESTARTS - 1
    assert "ended with 3" in messages[0]


def test_a_process_that_does_not_come_up_is_reported(tmp_path: Path) -> None:
    """It ended before it was ready: RunError with its last words; one not yet started does not count."""
    process = Process("broken", ["/bin/sh", "-c", "echo cannot; exit 1"], {}, tmp_path, tmp_path)
    processes = Processes([process, Process("later", ["/bin/true"], {}, tmp_path, tmp_path)], lambda _: None)
    processes.start("broken")
    ended(process)
    with pytest.raises(RunError, match="broken did not start: cannot"):
        processes.fail_on_death()


def test_stopping_ends_a_process_that_ignores_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM first, then -9 for the whole group."""
    monkeypatch.setattr("scripts.demo.processes.STOP_SECONDS", 0.3)
    shipper = Process("shipper", ["/bin/sleep", "60"], {}, tmp_path, tmp_path)
    deaf = "trap '' TERM; echo up; while :; do sleep 1; done"
    stubborn = Process("stubborn", ["/bin/sh", "-c", deaf], {}, tmp_path, tmp_path)
    processes = Processes([shipper, stubborn], lambda _: None)
    processes.start("shipper", "stubborn")
    while "up" not in stubborn.last_line():
        pass
    processes.stop()
    assert shipper.has_ended()
    assert stubborn.has_ended()
