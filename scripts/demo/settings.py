"""Where the demo's parts are: folders under `.demo/`, ports, services."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NamedTuple

from auto_deployment.common.errors import RunError
from scripts.ports import reserve

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


class Service(NamedTuple):
    """One service of the demo; `weight` is its share of the traffic in fifths."""

    name: str
    track: str
    weight: int
    port: int
    metrics_port: int

    @property
    def address(self) -> str:
        """Where NGINX finds it."""
        return f"127.0.0.1:{self.port}"


class Place(NamedTuple):
    """The demo's folder and what is where in it."""

    folder: Path

    @property
    def data(self) -> Path:
        """Tables, quarantine, model."""
        return self.folder / "data"

    @property
    def journals(self) -> Path:
        """One folder of journals a service."""
        return self.folder / "journals"

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.folder / "logs"

    @property
    def pids(self) -> Path:
        """One file a process, with its number."""
        return self.folder / "pids"

    @property
    def nginx(self) -> Path:
        """NGINX's configuration, logs and temporary files."""
        return self.folder / "nginx"

    @property
    def provenance_url(self) -> str:
        """The database."""
        return f"sqlite:///{self.folder / 'provenance.sqlite'}"


def services() -> list[Service]:
    """Two stable services and a canary, 2:2:1, on reserved ports."""
    ports = reserve(6)
    names = (("stable-1", "stable", 2), ("stable-2", "stable", 2), ("canary", "canary", 1))
    return [Service(*each, ports[2 * at], ports[2 * at + 1]) for at, each in enumerate(names)]


def require_free(port: int) -> None:
    """Raises RunError where `port` is taken."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise RunError(f"port {port} is taken or not allowed: stop what listens there, or use --port") from error


def gunicorn(service: Service, place: Place) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a service."""
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "app" / "gunicorn.conf.py"), "--chdir", str(ROOT)]
    environment = {
        "MODEL_DIR": str(place.data / "model"),
        "SERVICE": service.name,
        "TRACK": service.track,
        "BIND": service.address,
        "METRICS_BIND": f"127.0.0.1:{service.metrics_port}",
        "WORKERS": str(WORKERS),
        "RUN_DIR": str(place.folder / "run" / service.name),
        "JOURNAL_DIR": str(place.journals),
        "TMPDIR": str(place.folder),
    }
    return command, environment


def shipper(place: Place) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of the shipper."""
    environment = {"JOURNAL_DIR": str(place.journals), "PROVENANCE_URL": place.provenance_url}
    return [sys.executable, "-m", "app.shipper"], {**environment, "PYTHONPATH": os.pathsep.join([str(ROOT)])}
