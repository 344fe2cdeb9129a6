"""The tour on a Docker engine: the whole cycle, with the stack and the broker in containers."""

from __future__ import annotations

import os
import socket
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from scripts.broker.container import IMAGE, ContainerBroker
from scripts.lib.images.__main__ import get_images, stack_images
from scripts.lib.images.docker import DockerError, docker
from scripts.rehearse.compose_stack import remove_project
from scripts.rehearse.mailbox import LOOPBACK
from scripts.rehearse.release_stack import ReleaseStack, write_service
from scripts.tour.checkouts import write_settings
from scripts.tour.film_service import TOPIC
from scripts.tour.narrator import shown
from scripts.tour.release_log import ReleaseLog
from scripts.tour.tour import MORE_LINES, Tour

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scripts.tour.narrator import Narrator

# A bake of a minute instead of twelve hours. A minute has few requests: a busy machine needs a wider limit and more time.
COMPRESSED = {
    "CANARY_BAKE_MINUTES": "1",
    "CANARY_MAX_BAKE_MINUTES": "5",
    "CANARY_MAX_SLOWDOWN": "1.5",
    "CANARY_CHECK_SECONDS": "5",
    "CANARY_MIN_REQUESTS": "200",
}
# From half a minute after the start on: only the bake can find this.
SLOWER = {"FAULT_SECONDS": "0.03", "FAULT_AFTER_SECONDS": "30"}
SLOWER_COMMIT = "Service: more work for each answer"
RELEASE_SECONDS = 720


def address_for_containers() -> str:
    """An address of this machine that containers reach, so that Alertmanager can send: that of the engine's bridge.

    The loopback address where this machine has no such address, as with an engine in a virtual machine.
    """
    try:
        gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
        socket.create_server((gateway, 0)).close()
    except (DockerError, OSError):
        return LOOPBACK
    return gateway or LOOPBACK


class ContainerTour(Tour):
    """The steps in their order. `close` removes everything that they made, at any moment."""

    steps = 11

    def __init__(self, folder: Path, port: int, console_port: int, narrator: Narrator) -> None:
        super().__init__(folder, port, console_port, narrator, address_for_containers())
        self._name = f"movierec-tour-{zlib.crc32(str(folder).encode()):08x}"
        self._broker = ContainerBroker(f"{self._name}-kafka")
        self._stack: ReleaseStack | None = None

    @property
    def stack(self) -> ReleaseStack:
        """The stack. Raises RunError before its step."""
        if self._stack is None:
            raise RunError("the stack does not run yet")
        return self._stack

    def require(self) -> list[str]:
        """See Tour. Nothing is left out."""
        self._remove()
        return []

    def run(self) -> None:
        """See Tour."""
        self._get_images()
        self.make_hosts()
        self._start_stack()
        self.start_film_service(self._broker.address, self._broker.start, self.service)
        self._set_up_retraining()
        with self.narrator.step(
            "Version 1",
            "The retraining reads the topic, trains, and judges the model: RMSE below 1, and not worse than the version "
            "before. It publishes data and model with DVC, and a commit with a tag in git.",
            300,
        ):
            self.retrain(1)
            self.narrator.look("quality", f"{self.console}/versions")
        with self.narrator.step(
            "GitLab's jobs for version 1",
            "The commit starts a pipeline. Its jobs check the data, the model and the image, with the commands of "
            ".gitlab-ci.yml. The last job asks the server to release the commit.",
            600,
        ):
            log = self._check_and_deploy()
        with self.narrator.step(
            "Release of version 1",
            "The new image answers recorded requests in the shadow. Then a canary gets a fifth of the traffic, while "
            "Prometheus collects the evidence. After the bake, a minute here instead of 12 hours, all services run version 1.",
            RELEASE_SECONDS,
        ):
            self._follow(log, "promoted")
        with self.narrator.step(
            "Version 2, with a mistake",
            "Days later there are more lines. A developer has merged code that makes each answer 30 ms slower after a while. "
            "The retraining publishes version 2. GitLab's jobs pass: the data, the model and the image are sound.",
            600,
        ):
            self._merge_slower_code()
            self.send(MORE_LINES)
            self.retrain(2)
            log = self._check_and_deploy()
        with self.narrator.step(
            "Release of version 2",
            "The bake compares the canary with the stable services in the same minutes. The canary is slower, so the release "
            "takes it back. The stable services keep version 1.",
            RELEASE_SECONDS,
        ):
            self._follow(log, "aborted")
        self.explain(1)
        self.show_messages()

    def watch(self) -> None:
        """See Tour. Docker starts a container again that dies."""

    def addresses(self) -> Sequence[tuple[str, str]]:
        """See Tour."""
        return [
            *super().addresses(),
            ("release", f"cd {shown(self.stack.folder)} && scripts/deploy.sh status"),
            ("Prometheus", f"http://127.0.0.1:{self.stack.ports['PROMETHEUS_PORT']}/"),
        ]

    def close(self) -> None:
        """See Tour. Also removes containers, volumes, networks and images."""
        super().close()
        self._remove()

    def _remove(self) -> None:
        """Remove what this tour or a killed one made in the engine, and the secrets, which belong to the containers' users."""
        secrets = self.checkouts.server / ".secrets"
        if secrets.exists():
            as_root = ("--rm", "--pull", "never", "--network", "none", "--user", "0:0", "--volume", f"{secrets}:/secrets")
            with suppress(DockerError):  # the image was not built yet
                docker("run", *as_root, f"{self._name}:stable", "find", "/secrets", "-mindepth", "1", "-delete")
        remove_project(self._name)

    def _get_images(self) -> None:
        with self.narrator.step(
            "Images",
            "The images of the stack and of the broker. Missing ones are pulled, or built where no registry answers.",
            1800,
        ):
            names = [*stack_images(), IMAGE]
            get_images(names, lambda line: None if ": is there" in line else self.narrator.say(line))
            self.narrator.say(f"{len(names)} images are there")

    def _start_stack(self) -> None:
        with self.narrator.step(
            "The server",
            "Docker Compose starts NGINX, two stable services and a canary, MySQL, Prometheus with its exporters, and the "
            "console. All services run version 0, a model of the shipped sample.",
            600,
        ):
            metrics = self.checkouts.retraining / "logs" / "metrics"
            metrics.mkdir(parents=True, mode=0o755)
            settings = {
                **COMPRESSED,
                **self.messages,
                "NGINX_PORT": str(self.port),
                "CONSOLE_PORT": str(self.console_port),
                "PIPELINE_METRICS_DIR": str(metrics),
            }
            self._stack = ReleaseStack(self.checkouts.server, self._name, **settings)
            write_settings(self.stack.folder, self.stack.settings)
            self.stack.up()
            self.narrator.look("service", f"curl -i {self.service}/recommend/447528")
            self.narrator.look("console", f"{self.console}/")
            self.narrator.look("containers", f"cd {shown(self.stack.folder)} && docker compose ps")

    def _set_up_retraining(self) -> None:
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": self._broker.address,
            "KAFKA_TOPIC": TOPIC,
            "USER_API_URL": self.films.api_url,
            "SERVER_DIR": str(self.stack.folder),
            "MYSQL_PORT": str(self.stack.ports["MYSQL_PORT"]),
            "MYSQL_USER": self.stack.host_secret("mysql_user").strip(),
            "MYSQL_PASSWORD": self.stack.host_secret("mysql_password").strip(),
            **self.messages,
        }
        write_settings(self.checkouts.retraining, settings)

    def _check_and_deploy(self) -> ReleaseLog:
        """GitLab's jobs. The last one is the command that GitLab reaches over ssh. The traffic begins with the release."""
        commit = self.check("data", "model", "app")
        self.start_traffic()
        ask = {"SSH_ORIGINAL_COMMAND": f"release {commit}"}
        self.checkouts.run("scripts/server/deploy-command", cwd=self.stack.folder, environment=ask)
        self.narrator.say("deploy      passed: the release has begun on the server")
        return ReleaseLog(max((self.stack.folder / "logs").glob("release-*.log")))

    def _follow(self, log: ReleaseLog, expected: str) -> None:
        """Show the lines of a release until its end, then end the traffic. Raises RunError for another end."""
        self.narrator.look("in a browser", f"{self.console}/release")
        self.narrator.look("log", f"tail -f {shown(log.path)}")
        has_ended = False
        while not has_ended:
            has_ended = log.has_ended()
            for line in log.new_lines():
                self.narrator.say(line)
            time.sleep(0.5)
        self.stop_traffic()
        ends = self.stack.ends()
        ending = ends[-1]["ending"] if ends else "not begun"
        if ending != expected:
            load = f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
            raise RunError(
                f"the release ended as {ending} instead of {expected}: see {shown(log.path)}. A busy machine ({load}) delays "
                "answers of any version: run the tour again when little else runs"
            )

    def _merge_slower_code(self) -> None:
        here = self.checkouts.developer
        self.checkouts.run("git", "pull", "--quiet", "origin", "main", cwd=here)
        write_service(here, (here / "app" / "Dockerfile").read_text(), **SLOWER)
        self.narrator.say(f"merged: {self.checkouts.commit(SLOWER_COMMIT, 'app')}")
