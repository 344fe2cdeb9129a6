"""The running stack: a release replaces its containers and sets the upstream servers of NGINX."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import write_synced
from auto_deployment.common.process import CommandError
from auto_deployment.release import docker_commands
from auto_deployment.release.nginx_upstream import render
from auto_deployment.release.probe import UNKNOWN_USER, ProbeError, UnhealthyError, readiness, smoke
from auto_deployment.release.services import FOLLOWERS, OVERRIDE, override

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from auto_deployment.common.process import Commands
    from auto_deployment.release.services import Slots

log = logging.getLogger(__name__)

# Each worker has answered by then, and each bucket of its histogram is there.
WARM_USERS = 200
UPSTREAM = ".stack/nginx/upstream.conf"
# NGINX's worker_shutdown_timeout is 5 s, and a request lasts at most 0.6 s.
DRAIN_SECONDS = 15.0
DRAIN_PAUSE = 0.2
# Compose waits for a service's health for 90 s, after its old container has had 15 s to end.
REPLACE_SECONDS = 150.0
# A container that the engine could not start, or is removing, proves nothing about its version.
STARTED = ("running", "restarting", "exited", "dead")
RACES = ("is already in use", "already in progress", "No such container", "marked for removal", "is not running")
RACE_PAUSES = (5.0, 20.0)


class StackError(RunError):
    """The stack is not as a release needs it; the text says what to do."""


class Container(NamedTuple):
    """A service's container. `health` is empty where it has no check; `status` is `created` until it has run once."""

    id: str
    name: str
    image: str
    image_id: str
    status: str
    health: str
    network: str
    address: str
    started: str

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self.status == "running"

    @property
    def is_unhealthy(self) -> bool:
        """Whether the container was started and is not healthy."""
        return self.status in STARTED and not self.is_healthy

    def unhealthy_error(self, service: str) -> UnhealthyError:
        """The error of an unhealthy container, with the engine's words."""
        state = ", ".join(filter(None, (self.status, self.health)))
        return UnhealthyError(f"{service} is not healthy ({state}): docker compose logs {service} says why")

    @property
    def is_healthy(self) -> bool:
        """Whether the container runs and its health check passes."""
        return self.running and self.health == "healthy"


def container_from_inspect(inspected: dict[str, Any]) -> Container:
    """A container, from what `docker inspect` prints."""
    state = inspected["State"]
    networks = {name: each.get("IPAddress") or "" for name, each in inspected["NetworkSettings"]["Networks"].items()}
    network = next(iter(networks), "")
    return Container(
        id=inspected["Id"],
        name=inspected["Name"].lstrip("/"),
        image=inspected["Config"]["Image"],
        image_id=inspected["Image"],
        status=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        network=network,
        address=networks.get(network, ""),
        started=state["StartedAt"],
    )


def worker_pids(processes: str) -> set[str]:
    """The process numbers of NGINX's workers, from what `docker top` prints."""
    lines = (line.split(None, 1) for line in processes.splitlines())
    return {fields[0] for fields in lines if len(fields) > 1 and fields[1].startswith("nginx: worker process")}


class Stack:
    """The stack of one checkout."""

    def __init__(
        self,
        root: Path,
        docker: str,
        runner: Commands,
        repository: str,
        sleep: Callable[[float], None] = time.sleep,
        compose_file: Path | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        """`compose_file`: a copy of docker-compose.yml that no upgrade changes; None: what Compose finds in `root`.

        With `fresh` each version in service has a process that follows the stream.
        """
        self.root = root
        self._compose_file = compose_file
        self._fresh = fresh
        self.docker = docker
        self.repository = repository
        self._run = runner.run
        self._sleep = sleep

    def run(self, command: list[str], seconds: float = 60.0) -> str:
        """What a command printed. Raises CommandError."""
        return self._run(*command, seconds=seconds)

    @property
    def _compose(self) -> list[str]:
        """The start of each command of Compose. What a release wrote, it may have written since the last one."""
        if self._compose_file is None:
            return docker_commands.compose(self.docker, self.root)
        written = self.root / OVERRIDE
        files = [self._compose_file, *([written] if written.exists() else ())]
        return docker_commands.compose(self.docker, self.root, files)

    def has_engine(self) -> bool:
        """Whether a Docker engine answers."""
        try:
            self.run(docker_commands.engine(self.docker))
        except CommandError:
            return False
        return True

    def container(self, service: str) -> Container | None:
        """A service's container; None where there is none. Raises CommandError."""
        ids = self.run(docker_commands.container(self._compose, service)).split()
        return self.inspect(ids[0]) if ids else None

    def inspect(self, name: str) -> Container:
        """A container by name or id. Raises CommandError where there is none."""
        return container_from_inspect(json.loads(self.run(docker_commands.inspect(self.docker, name)))[0])

    def image_id(self, tag: str) -> str | None:
        """The id of an image of ours; None where it is not on this machine."""
        try:
            return self.run(docker_commands.image_id(self.docker, f"{self.repository}:{tag}"))
        except CommandError:
            return None

    def tag(self, image: str, tag: str) -> None:
        """Have `tag` name an image."""
        self.run(docker_commands.tag(self.docker, image, f"{self.repository}:{tag}"))

    def tags(self) -> set[str]:
        """The tags of our images on this machine. Raises CommandError."""
        return set(self.run(docker_commands.tags(self.docker, self.repository)).split())

    def write(self, slots: Slots) -> None:
        """Write what each service runs into the file that Compose reads."""
        write_synced(self.root / OVERRIDE, override(slots).encode())

    def replace(self, service: str, slots: Slots) -> Container:
        """Run in `service` what its slot names, until it is healthy.

        Raises UnhealthyError for a started container that is not healthy, CommandError or StackError where the engine fails.
        """
        self.write(slots)
        failed: CommandError | None = None
        try:
            self._replace(service)
        except CommandError as error:
            failed = error
        found = self.container(service)
        if found is not None and found.is_unhealthy and found.image == self._image_of(service, slots):
            raise found.unhealthy_error(service) from failed
        if failed is not None:
            raise failed
        if found is None or not found.is_healthy:
            raise StackError(f"{service} is not there: docker compose ps -a shows what there is")
        self._follow(service, docker_commands.start)
        return found

    def _follow(self, service: str, command: Callable[[list[str], str], list[str]]) -> None:
        """Start or remove the follower of a service's version. A fault costs freshness, and no release."""
        if not self._fresh or service not in FOLLOWERS:
            return
        try:
            self.run(command(self._compose, FOLLOWERS[service]), REPLACE_SECONDS)
        except CommandError as error:
            log.warning("answers of %s are not fresh: %s", service, error)

    def fresh_as_of(self, service: str) -> float | None:
        """Up to when a service's answers follow the stream, in seconds since 1970. None where they follow nothing.

        0 where that is not known: a missed answer proves nothing about a version, the health check does.
        """
        found = self.container(service)
        if found is None:
            return None
        try:
            as_of = readiness(found.address).get("fresh_as_of")
        except ProbeError:
            return 0.0
        return None if as_of is None else float(as_of)

    def _image_of(self, service: str, slots: Slots) -> str:
        slot = slots[service]
        return "" if slot is None else f"{self.repository}:{slot.tag}"

    def _replace(self, service: str) -> None:
        """Try again where another Compose, left by a killed run, works on the same container."""
        for pause in RACE_PAUSES:
            try:
                self.run(docker_commands.replace(self._compose, service), REPLACE_SECONDS)
            except CommandError as error:
                if not any(sign in error.words for sign in RACES):
                    raise
                self._sleep(pause)
            else:
                return
        self.run(docker_commands.replace(self._compose, service), REPLACE_SECONDS)

    def remove(self, service: str, slots: Slots) -> None:
        """Remove `service`, also for the next `up`."""
        self.write(slots)
        self.run(docker_commands.remove(self._compose, service))
        self._follow(service, docker_commands.remove)

    def smoke(self, service: str, version: int, track: str) -> None:
        """Try a service directly, which warms it up. Raises StackError where it is gone, UnhealthyError if unhealthy."""
        found = self.container(service)
        if found is None:
            raise StackError(f"{service} is gone: docker compose ps -a shows what there is")
        if found.is_unhealthy:
            raise found.unhealthy_error(service)
        smoke(found.address, version, track, [UNKNOWN_USER - number for number in range(WARM_USERS)])

    def route(self, slots: Slots, down: Collection[str] = (), *, drain: bool = True) -> None:
        """Route NGINX to the services that are there and not `down`; with `drain`, wait until earlier requests have ended.

        Raises CommandError where NGINX refuses the file and keeps the old one; StackError where requests do not end.
        """
        path, text = self.root / UPSTREAM, render(slots, down)
        before = path.read_text(encoding="utf-8")
        nginx = self._nginx()
        old = self._workers(nginx)
        self._place(path, text)
        try:
            self.run(docker_commands.check_nginx(self._compose))
        except CommandError:
            self._place(path, before)
            raise
        self.run(docker_commands.reload_nginx(self._compose))
        if drain:
            self._wait_until_gone(nginx, old)

    def unhealthy(self, slots: Slots) -> set[str]:
        """The services that should run and are not healthy. Raises CommandError."""
        found = {service: self.container(service) for service, slot in slots.items() if slot is not None}
        return {service for service, each in found.items() if each is None or not each.is_healthy}

    def withdraw(self, slots: Slots, down: Collection[str] = ()) -> None:
        """`route`, also where NGINX does not run: NGINX reads the file when it starts."""
        self._place(self.root / UPSTREAM, render(slots, down))
        found = self.container("nginx")
        if found is not None and found.running:
            self.route(slots, down)

    def _nginx(self) -> str:
        found = self.container("nginx")
        if found is None or not found.running:
            raise StackError("NGINX does not run: bring the stack up (docker compose up -d --wait) and run this again")
        return found.id

    def _workers(self, nginx: str) -> set[str]:
        return worker_pids(self.run(docker_commands.processes(self.docker, nginx)))

    def _wait_until_gone(self, nginx: str, old: set[str]) -> None:
        for _ in range(int(DRAIN_SECONDS / DRAIN_PAUSE)):
            now = self._workers(nginx)
            if now and not now & old:
                return
            self._sleep(DRAIN_PAUSE)
        raise StackError(f"NGINX's old workers have not ended within {DRAIN_SECONDS:g} s: docker compose logs nginx says why")

    @staticmethod
    def _place(path: Path, text: str) -> None:
        write_synced(path, text.encode())
        path.chmod(0o644)  # NGINX's user reads it, in a container
