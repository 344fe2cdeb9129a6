"""From a push to users: the project's own release, on the real stack, started by nothing but `git push`."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from scripts.lib.images.docker import client
from scripts.ports import reserve
from scripts.rehearse.compose_stack import PORTS, wait_until
from tests.integration.gitlab.conftest import Site, halves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.stack

NAME = "movierec-gitlab"
UP_SECONDS = 400.0
CANARY_SECONDS = 300.0
ASKED = 200


class Server:
    """The server's checkout with a stack, which knows its settings from `.env`, as an operator would have it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = dict(zip(PORTS, reserve(len(PORTS)), strict=True))
        settings = {
            **self.ports,
            "COMPOSE_PROJECT_NAME": NAME,
            "APP_IMAGE": NAME,
            "STACK_NET": f"10.213.{200 + os.getpid() % 50}",
            "PROMETHEUS_URL": f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}",
            "DOCKER_DATA_ROOT": self.run(client(), "info", "--format", "{{.DockerRootDir}}").strip(),
            "CANARY_BAKE_MINUTES": 30,
        }
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the checkout, without settings. Returns its output."""
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=UP_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """One call of `docker compose`."""
        return self.run(client(), "compose", *arguments)

    def status(self) -> dict[str, Any]:
        """What the release says of itself."""
        release_status: dict[str, Any] = json.loads(self.run("scripts/deploy.sh", "status", "--json"))
        return release_status

    def bakes(self) -> bool:
        """Whether a canary has come as far as its bake."""
        return (self.status()["under_way"] or {}).get("step") == "bake"

    def answers(self, number: int) -> Counter[tuple[str | None, str | None]]:
        """How many answers came from each track and version."""
        url = f"http://127.0.0.1:{self.ports['NGINX_PORT']}/recommend/"
        found: Counter[tuple[str | None, str | None]] = Counter()
        for user in range(number):
            with urllib.request.urlopen(f"{url}{user}", timeout=10) as answer:
                found[answer.headers["X-Track"], answer.headers["X-Model-Version"]] += 1
        return found

    def down(self) -> None:
        """All of it away; what is under way first, or it would look for its stack for ever."""
        self.run("scripts/deploy.sh", "abort", check=False)
        wait_until(lambda: self.status()["running"] is None, CANARY_SECONDS, "the release ends")
        self.compose("down", "-v", "--timeout", "5")
        images = self.run(client(), "image", "ls", "--quiet", NAME).split()
        self.run(client(), "image", "rm", "--force", *dict.fromkeys(images), check=False)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site with the project's own release."""
    made = Site(tmp_path / "site", real=True)
    try:
        yield made
    finally:
        made.sshd.stop()


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    """The stack of the server's checkout, up, serving the sample's model, which is no version yet."""
    made = Server(site.server.folder)
    try:
        made.compose("up", "-d", "--wait")
        yield made
    finally:
        made.down()


def test_from_a_push_to_the_canary_at_a_fifth_of_the_traffic(site: Site, server: Server, tmp_path: Path) -> None:
    """The retraining pushes version 1. Without any further command, the canary sends every fifth answer.

    GitLab tests the version, the server releases it. The release outlives the job. Meanwhile the retraining makes version 2.
    Its working copy is left alone.
    """
    site.gitlab.jobs = ["test-data", "test-model", "test-app", "deploy"]
    site.gitlab.watch_pushes()
    first, second = halves(tmp_path)
    pushed = site.retrain(first)
    site.retrain(first, second, push=False)

    ended = site.gitlab.pipeline_of(pushed)
    assert ended.status == 0, ended.output
    for words in (
        "have their checksums in git and are sound",
        "the gate decides again",
        "a container answers",
        "the release of version 1 has begun",
    ):
        assert words in ended.output, ended.output
    wait_until(server.bakes, CANARY_SECONDS, "the canary bakes")
    assert site.server.command("git", "rev-parse", "HEAD") == pushed
    found = server.answers(ASKED)
    assert set(found) == {("stable", "0"), ("canary", "1")}
    assert found["canary", "1"] == pytest.approx(ASKED / 5, abs=10)
    assert site.retraining.data("version.txt").read_text() == "2\n"
    assert site.retraining.command("git", "status", "--short") == ""
