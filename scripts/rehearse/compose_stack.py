"""A separate stack: a copy of the project with the real Compose file, on ports that do not collide with the operator's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import zlib
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from mysql.connector.connection import MySQLConnection

from auto_deployment.common.errors import RunError
from auto_deployment.common.http import internal_session, is_ready
from auto_deployment.common.process import Commands
from scripts.lib.images.docker import DockerError, client, docker
from scripts.ports import reserve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("stable-1", "stable-2", "canary")
UP_SECONDS = 180.0
REMOVALS = 5
PORTS = ("NGINX_PORT", "MYSQL_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "CADVISOR_PORT", "CONSOLE_PORT")


def copy_of_project(to: Path) -> Path:
    """Copy the project's files, tracked or new but not ignored, with uncommitted changes. Returns `to`.

    Raises CommandError with git's words, for example where the project is no git checkout.
    """
    listed = Commands(ROOT).run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", seconds=30)
    for name in listed.split("\0")[:-1]:
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


class ComposeStackError(RunError):
    """A command on the stack failed, or the stack did not reach a state in time. The message has the command's output."""


def remove_project(name: str) -> None:
    """Remove every container, volume, network and image of a Compose project, also those that a killed release has left.

    Unlike `down`, this needs no Compose file. Raises ComposeStackError if something stays.
    """
    project = f"label=com.docker.compose.project={name}"
    kinds = {
        ("rm", "--force", "--volumes"): ("ps", "--all", "--quiet", "--filter", f"name=^/?{name}-"),
        ("volume", "rm"): ("volume", "ls", "--quiet", "--filter", project),
        ("network", "rm"): ("network", "ls", "--quiet", "--filter", project),
        ("image", "rm", "--force"): ("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", name),
    }
    for _ in range(REMOVALS):
        found = {remove: docker(*listing).split() for remove, listing in kinds.items()}
        if not any(found.values()):
            return
        for remove, names in found.items():
            if names:
                # A container may be on its way still, and hold the others: the next round removes them.
                with suppress(DockerError):
                    docker(*remove, *names)
    raise ComposeStackError(f"these remain of {name}, remove them with docker: {', '.join(chain(*found.values()))}")


class ComposeStack:
    """`docker compose` in a copy of the project, and questions to its services. Every method may raise ComposeStackError."""

    def __init__(self, folder: Path, name: str, **settings: str) -> None:
        """A folder that is a git checkout is used as it is. `settings` may name ports; the others are reserved."""
        self.folder = folder if (folder / ".git").exists() else copy_of_project(folder)
        self.name = name
        reserved = dict(zip(PORTS, reserve(len(PORTS)), strict=True))
        self.ports = {each: int(settings.get(each, port)) for each, port in reserved.items()}
        self._net = f"10.213.{100 + zlib.crc32(f'{name} {os.getpid()}'.encode()) % 100}"
        self.settings = {
            **{each: str(port) for each, port in self.ports.items()},
            "COMPOSE_PROJECT_NAME": name,
            "STACK_NET": self._net,
            "APP_IMAGE": name,
            **settings,
        }
        self._environment = {**os.environ, **self.settings}
        info = self.docker("info", "--format", "{{.DockerRootDir}}", check=False)
        if info.returncode:
            raise ComposeStackError(f"no Docker engine answers, scripts/dev engine starts one: {info.stderr.strip()}")
        self.settings["DOCKER_DATA_ROOT"] = self._environment["DOCKER_DATA_ROOT"] = info.stdout.strip()

    @property
    def environment(self) -> dict[str, str]:
        """A copy of the environment of the stack's commands."""
        return dict(self._environment)

    @property
    def port(self) -> int:
        """NGINX's port."""
        return self.ports["NGINX_PORT"]

    def docker(self, *arguments: str, check: bool = True, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run docker in the project's folder. With `check`: raises ComposeStackError with docker's output if docker fails."""
        done = subprocess.run(
            [client(), *arguments],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise ComposeStackError(f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done

    def run(self, *command: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder, with the stack's environment."""
        return subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def compose(self, *arguments: str, check: bool = True, timeout: float = UP_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run `docker compose`, see `docker`."""
        return self.docker("compose", *arguments, check=check, timeout=timeout)

    def up(self, *services: str) -> float:
        """Run `docker compose up -d --wait` for these services, or for all. Returns the seconds that it took."""
        began = time.monotonic()
        self.compose("up", "-d", "--wait", *services, timeout=2 * UP_SECONDS)
        return time.monotonic() - began

    def start_clean(self) -> float:
        """Remove the rest of a killed stack of this name: its database has other passwords. Then `up`; the seconds it took."""
        self.down()
        return self.up()

    def down(self) -> None:
        """Run `docker compose down -v`, and remove every image of the stack's name."""
        self.compose("down", "-v", "--timeout", "10")
        images = self.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", self.name, check=False).stdout.split()
        if images:
            self.docker("image", "rm", "-f", *images, check=False)

    def left_behind(self) -> list[str]:
        """The ids of the containers, volumes, networks and images that this stack has left."""
        mine = f"label=com.docker.compose.project={self.name}"
        kinds = (("ps", "-aq"), ("volume", "ls", "-q"), ("network", "ls", "-q"))
        listed = [self.docker(*kind, "--filter", mine).stdout for kind in kinds]
        return [*"".join(listed).split(), *self.docker("image", "ls", "-q", self.name).stdout.split()]

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
        return self.compose("ps", "-aq", service).stdout.strip()

    def address(self, service: str) -> str:
        """A service's address in the network of NGINX and the services. This machine can reach the address too."""
        return f"{self._net}.{11 + SERVICES.index(service)}"

    def is_ready(self, service: str) -> bool:
        """Whether a service, asked without NGINX, is ready."""
        return is_ready(f"http://{self.address(service)}:5000", seconds=1)

    def wait_ready(self, service: str, seconds: float = 60.0) -> None:
        """Wait until a service answers, at most `seconds`."""
        wait_until(lambda: self.is_ready(service), seconds, f"{service} answers")

    def ask(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], str]:
        """Send one request through NGINX; status, headers and body of the answer."""
        with internal_session() as session:
            url = f"http://127.0.0.1:{self.port}{path}"
            answer = session.request(method, url, headers=headers, timeout=5, allow_redirects=False)
            return answer.status_code, dict(answer.headers), answer.content.decode()

    def tries(self, last: int | None = None) -> list[dict[str, Any]]:
        """The lines of NGINX's log of tries, rotated files included; only the `last` ones if that is given."""
        oldest_first = "cd /var/log/nginx; cat $(ls tries-*.log 2>/dev/null) tries.log"
        if last is not None:
            oldest_first += f" | tail -n {last}"
        written = self.compose("exec", "-T", "nginx", "sh", "-c", oldest_first).stdout
        return [json.loads(line) for line in written.splitlines()]

    def host_secret(self, name: str) -> str:
        """A secret of the host side."""
        return (self.folder / ".secrets" / "host" / name).read_text()

    def rows(self, query: str, *arguments: str | int) -> list[tuple[Any, ...]]:
        """The rows of a query to MySQL, with the host side's account."""
        with (
            closing(
                MySQLConnection(
                    host="127.0.0.1",
                    port=self.ports["MYSQL_PORT"],
                    user=self.host_secret("mysql_user"),
                    password=self.host_secret("mysql_password"),
                    database="movierec",
                    connection_timeout=5,
                    read_timeout=60,
                )
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, arguments)
            return [tuple(row) for row in cursor.fetchall()]

    def query_prometheus(self, query: str) -> list[dict[str, Any]]:
        """Prometheus's result for a query now; empty while Prometheus starts."""
        url = f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}/api/v1/query"
        try:
            with internal_session() as session:
                answer = session.get(url, params={"query": query}, timeout=10)
                answer.raise_for_status()
                return list(answer.json()["data"]["result"])
        except requests.RequestException:
            return []

    @contextmanager
    def faulty_canary(self, **faults: str) -> Iterator[None]:
        """Run the canary with faults of `faulty/faulty.py`, and afterwards the former canary again."""
        image = f"{self.name}:faulty"
        here = Path(__file__).parent / "faulty"
        arguments = _arguments({"BASE": f"{self.name}:stable", **faults})
        self.docker("build", "-q", "-t", image, *arguments, str(here), timeout=UP_SECONDS)
        try:
            self._environment["CANARY_TAG"] = "faulty"
            done = self.compose("up", "-d", "--no-deps", "--wait", "canary", check=False)
            if done.returncode:
                raise ComposeStackError(done.stderr + self.docker("logs", self.container("canary")).stderr)
            yield
        finally:
            del self._environment["CANARY_TAG"]
            self.compose("up", "-d", "--no-deps", "--wait", "canary")
            self.docker("image", "rm", "-f", image)

    def processor_seconds_so_far(self) -> float:
        """The processor seconds of NGINX and the services: of each process and its ended children, by /proc/PID/stat."""
        ticks = 0
        for service in ("nginx", *SERVICES):
            for pid in self.docker("top", self.container(service), "-eo", "pid").stdout.split()[1:]:
                with suppress(FileNotFoundError, ProcessLookupError):  # a health check that has ended meanwhile
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def logs(self) -> str:
        """The last lines of every container."""
        logs = self.compose("logs", "--no-color", "--tail", "12", check=False)
        return self.compose("ps", "-a", check=False).stdout + logs.stdout


def _arguments(given: Mapping[str, str]) -> list[str]:
    return [part for name, value in given.items() for part in ("--build-arg", f"{name}={value}")]


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until `holds` returns True. Raises ComposeStackError, which names `what`, after so many seconds."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise ComposeStackError(f"not reached in {seconds:g} s: {what}")
        time.sleep(0.2)
