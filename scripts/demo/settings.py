"""The demo's folders under `.demo/`, its ports and its services."""

from __future__ import annotations

import os
import shutil
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
        """The address for NGINX."""
        return f"127.0.0.1:{self.port}"


class DemoFolder(NamedTuple):
    """The demo's folder and the paths in it."""

    folder: Path

    @property
    def data(self) -> Path:
        """Tables, quarantine, model."""
        return self.folder / "data"

    @property
    def journals(self) -> Path:
        """A folder of journals for each service."""
        return self.folder / "journals"

    @property
    def logs(self) -> Path:
        """A log file for each process."""
        return self.folder / "logs"

    @property
    def pids(self) -> Path:
        """A file for each process, with its process number."""
        return self.folder / "pids"

    @property
    def nginx(self) -> Path:
        """NGINX's configuration, logs and temporary files."""
        return self.folder / "nginx"

    @property
    def versions(self) -> Path:
        """The reports of versions."""
        return self.data / "versioning"

    @property
    def fresh(self) -> Path:
        """What is new of each user."""
        return self.folder / "fresh"

    @property
    def provenance_url(self) -> str:
        """The URL of the database."""
        return f"sqlite:///{self.folder / 'provenance.sqlite'}"

    def empty(self) -> None:
        """Remove everything in the folder but the lock."""
        for path in self.folder.iterdir():
            if path.name != "lock":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


class Follow(NamedTuple):
    """A file whose new lines count at once, and its size when the demo began, in bytes."""

    file: Path
    start: int


def services() -> list[Service]:
    """Two stable services and a canary, 2:2:1, on reserved ports."""
    ports = reserve(6)
    names = (("stable-1", "stable", 2), ("stable-2", "stable", 2), ("canary", "canary", 1))
    return [Service(*each, ports[2 * at], ports[2 * at + 1]) for at, each in enumerate(names)]


def require_free(option: str, port: int) -> None:
    """Raise RunError if `port`, which `option` gives, is taken."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise RunError(f"port {port} is taken or not allowed: stop what listens there, or use {option}") from error


def gunicorn(service: Service, demo: DemoFolder, *, follows: bool) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a service. `follows`: it answers by what `fresh` writes, too."""
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "app" / "gunicorn.conf.py"), "--chdir", str(ROOT)]
    environment = {
        "MODEL_DIR": str(demo.data / "model"),
        "SERVICE": service.name,
        "TRACK": service.track,
        "BIND": service.address,
        "METRICS_BIND": f"127.0.0.1:{service.metrics_port}",
        "WORKERS": str(WORKERS),
        "RUN_DIR": str(demo.folder / "run" / service.name),
        "JOURNAL_DIR": str(demo.journals),
        "TMPDIR": str(demo.folder),
        **({"FRESH": "true", "FRESH_DIR": str(demo.fresh)} if follows else {}),
    }
    return command, environment


def fresh(follow: Follow, demo: DemoFolder) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of the process that follows a file."""
    environment = {
        "MODEL_DIR": str(demo.data / "model"),
        "FRESH_DIR": str(demo.fresh),
        "FOLLOW_FILE": str(follow.file),
        "FOLLOW_FROM": str(follow.start),
        "OPENBLAS_NUM_THREADS": "1",  # a list is a small product: a second thread would mostly wait, and triple the time
        "PYTHONPATH": str(ROOT),
    }
    return [sys.executable, "-m", "app.fresh"], environment


def console(port: int, demo: DemoFolder) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of the console. The demo has neither a Prometheus nor a release."""
    settings = ROOT / "app" / "console" / "gunicorn_settings.py"
    command = [sys.executable, "-m", "gunicorn", "--config", str(settings), "--chdir", str(ROOT), "--bind", f"127.0.0.1:{port}"]
    environment = {
        "PROVENANCE_URL": demo.provenance_url,
        "RELEASE_DIR": str(demo.folder / "release"),
        "VERSIONS_DIR": str(demo.versions),
        "CONSOLE_DIR": str(demo.logs / "console"),
    }
    return command, environment


def shipper(demo: DemoFolder) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of the shipper."""
    environment = {"JOURNAL_DIR": str(demo.journals), "PROVENANCE_URL": demo.provenance_url}
    return [sys.executable, "-m", "app.shipper"], {**environment, "PYTHONPATH": os.pathsep.join([str(ROOT)])}
