"""What a release does to the stack, on an engine of fakes: NGINX keeps what works, waits have limits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from auto_deployment.common.process import CommandError
from auto_deployment.release.nginx_upstream import drain_set, render
from auto_deployment.release.probe import UnhealthyError
from auto_deployment.release.services import FIRST, OVERRIDE, Slot, override
from auto_deployment.release.stack import UPSTREAM, Stack, StackError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BAKING = {**FIRST, "canary": Slot("model-7", "canary")}


class FakeEngine:
    """Answers docker's commands; `fails` says which fail, and with what words."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.workers = ["101", "102"]
        self.leaves = True
        self.is_empty = False
        self.status, self.health, self.image = "running", "healthy", "app:stable"
        self.fails: Callable[[str], str] = lambda _command: ""

    def run(self, *command: str, seconds: float = 60.0) -> str:
        """Run one."""
        del seconds
        words = " ".join(command[1:])
        self.commands.append(words)
        if found := self.fails(words):
            raise CommandError(command, found)
        if "reload" in words and self.leaves:
            self.workers = [str(int(worker) + 10) for worker in self.workers]
        if words.startswith("top"):
            return "\n".join(f"{worker} nginx: worker process" for worker in self.workers)
        if words.startswith("inspect"):
            return json.dumps([self.container(words.split()[-1])])
        return words.rsplit(" ", 1)[-1] if "ps --all" in words and not self.is_empty else ""

    def container(self, name: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        state = {"Status": self.status, "StartedAt": "2026-11-23T13:00:00Z", "Health": {"Status": self.health}}
        networks = {"Networks": {"front": {"IPAddress": "172.30.82.13"}}}
        return {
            "Id": name,
            "Name": f"/{name}",
            "Image": "sha256:1",
            "Config": {"Image": self.image},
            "State": state,
            "NetworkSettings": networks,
        }

    def asked(self, word: str) -> list[str]:
        """The commands with a word in them."""
        return [command for command in self.commands if word in command]


@pytest.fixture
def engine() -> FakeEngine:
    """All is well."""
    return FakeEngine()


@pytest.fixture
def stack(engine: FakeEngine, tmp_path: Path) -> Stack:
    """As it is first brought up."""
    (tmp_path / UPSTREAM).parent.mkdir(parents=True)
    (tmp_path / UPSTREAM).write_text(render(FIRST))
    runner: Any = engine
    return Stack(tmp_path, "docker", runner, "app", lambda _seconds: None)


def test_nginx_is_asked_before_it_takes_a_file_and_drained_after(stack: Stack, engine: FakeEngine) -> None:
    """The file says who is down; the old workers are gone when it comes back."""
    stack.route(BAKING, {"stable-1"})
    assert (stack.root / UPSTREAM).read_text() == render(BAKING, {"stable-1"})
    assert (stack.root / UPSTREAM).stat().st_mode & 0o777 == 0o644
    order = [command.split()[-5:-2] for command in engine.asked("exec -T nginx")]
    assert order == [["nginx", "-t", "-q"], ["nginx", "-s", "reload"]]
    assert engine.commands[-1].startswith("top")


def test_a_file_that_nginx_does_not_take_is_put_back(stack: Stack, engine: FakeEngine) -> None:
    """And nothing is reloaded."""
    engine.fails = lambda command: "unknown directive" if " -t " in command else ""
    with pytest.raises(CommandError, match="unknown directive"):
        stack.route(BAKING, {"stable-1"})
    assert (stack.root / UPSTREAM).read_text() == render(FIRST)
    assert engine.asked("reload") == []


def test_a_drain_has_an_end(stack: Stack, engine: FakeEngine) -> None:
    """Workers that stay are an error with what to do; where nobody is drained, nobody waits."""
    engine.leaves = False
    with pytest.raises(StackError, match="docker compose logs nginx"):
        stack.route(BAKING, {"stable-1"})
    stack.route(BAKING, drain=False)


def test_without_nginx_there_is_no_release(stack: Stack, engine: FakeEngine) -> None:
    """It says how to bring the stack up."""
    engine.container = lambda name: {**FakeEngine().container(name), "State": {"Status": "exited", "StartedAt": ""}}  # type: ignore[method-assign]
    with pytest.raises(StackError, match="docker compose up -d --wait"):
        stack.route(BAKING)


def test_a_canary_is_withdrawn_also_without_nginx(stack: Stack, engine: FakeEngine) -> None:
    """NGINX finds the file when it starts; while it runs it takes it at once, and drains."""
    withdrawn = {**BAKING, "canary": None}
    stack.withdraw(withdrawn)
    assert engine.asked("reload")
    stack.route(BAKING)
    engine.commands.clear()
    engine.container = lambda name: {**FakeEngine().container(name), "State": {"Status": "exited", "StartedAt": ""}}  # type: ignore[method-assign]
    stack.withdraw(withdrawn)
    assert (stack.root / UPSTREAM).read_text() == render(withdrawn)
    assert not engine.asked("reload")


def test_unhealthy_names_only_services_that_should_run(stack: Stack, engine: FakeEngine) -> None:
    """Not healthy, or gone; whoever was taken out is neither."""
    assert stack.unhealthy(FIRST) == set()
    engine.container = lambda name: {  # type: ignore[method-assign]
        **FakeEngine().container(name),
        "State": {"Status": "running", "StartedAt": "", "Health": {"Status": "unhealthy" if name == "stable-1" else "healthy"}},
    }
    assert stack.unhealthy({**FIRST, "canary": None}) == {"stable-1"}


def test_the_unwell_are_asked_no_more_where_somebody_else_is_left() -> None:
    """Whoever is replaced never is."""
    assert drain_set(FIRST, "stable-1", {"stable-2"}) == {"stable-1", "stable-2"}
    assert drain_set(FIRST, "canary", set()) == {"canary"}
    assert drain_set({**FIRST, "canary": None}, "stable-1", {"stable-2"}) == {"stable-1"}
    assert drain_set({**FIRST, "canary": None}, "canary", {"stable-1"}) == {"stable-1"}
    assert drain_set({**FIRST, "canary": None}, "canary", {"stable-1", "stable-2"}) == set()


def test_a_follower_comes_and_goes_with_its_service(engine: FakeEngine, tmp_path: Path) -> None:
    """Only with freshness, and only with the service that changes last. A fault of it fails nothing."""
    runner: Any = engine
    stack = Stack(tmp_path, "docker", runner, "app", lambda _seconds: None, fresh=True)
    engine.image = "app:model-7"
    stack.replace("canary", BAKING)
    assert engine.commands[-1] == "compose up --detach --no-deps --no-build fresh-canary"
    stack.remove("canary", {**BAKING, "canary": None})
    assert engine.commands[-1] == "compose rm --stop --force fresh-canary"
    assert "profiles: [fresh], scale: 0}" in (stack.root / OVERRIDE).read_text()
    engine.image, engine.fails = "app:stable", lambda command: "no such image" if command.endswith(" fresh") else ""
    assert stack.replace("stable-2", FIRST).is_healthy
    engine.commands.clear()
    stack.replace("stable-1", FIRST)
    Stack(tmp_path, "docker", runner, "app").replace("stable-2", FIRST)
    assert not [command for command in engine.commands if "fresh" in command]


def test_compose_knows_before_it_acts(stack: Stack, engine: FakeEngine) -> None:
    """What a service is to run stands in the file that Compose reads; it comes back healthy."""
    assert stack.replace("canary", BAKING).is_healthy
    assert (stack.root / OVERRIDE).read_text() == override(BAKING)
    stack.remove("canary", {**BAKING, "canary": None})
    assert "canary: {scale: 0}" in (stack.root / OVERRIDE).read_text()
    assert len(engine.asked("up --detach")) == len(engine.asked("rm --stop")) == 1


@pytest.mark.parametrize("expected", ["", "container movierec-canary-1 is unhealthy"])
@pytest.mark.parametrize(
    ("status", "health"), [("running", "unhealthy"), ("running", "starting"), ("exited", "unhealthy"), ("restarting", "")]
)
def test_a_container_that_does_not_get_healthy_is_sick(
    stack: Stack, engine: FakeEngine, expected: str, status: str, health: str
) -> None:
    """With where to look, whether or not Compose says so too."""
    engine.fails = lambda command: expected if "up --detach" in command else ""
    engine.status, engine.health, engine.image = status, health, "app:model-7"
    with pytest.raises(UnhealthyError, match="docker compose logs canary"):
        stack.replace("canary", BAKING)


@pytest.mark.parametrize(
    ("status", "health", "image"),
    [
        ("created", "", "app:model-7"),
        ("running", "healthy", "app:model-7"),
        ("exited", "", "app:model-6"),
        ("removing", "unhealthy", "app:model-7"),
    ],
)
def test_what_the_engine_could_not_do_makes_nobody_sick(
    stack: Stack, engine: FakeEngine, status: str, health: str, image: str
) -> None:
    """A container that was never started, one that is well, and one of another version: its own words are kept."""
    engine.fails = lambda command: "no space left on device" if "up --detach" in command else ""
    engine.status, engine.health, engine.image = status, health, image
    with pytest.raises(CommandError, match="no space left"):
        stack.replace("canary", BAKING)


def test_a_service_that_has_ended_is_not_asked(stack: Stack, engine: FakeEngine) -> None:
    """It has no address; without one this machine itself would be asked."""
    engine.status, engine.health = "exited", "unhealthy"
    with pytest.raises(UnhealthyError, match="canary is not healthy"):
        stack.smoke("canary", 7, "canary")


def test_an_engine_that_does_not_answer_makes_nobody_sick(stack: Stack, engine: FakeEngine) -> None:
    """Nor does a container that is gone."""
    engine.fails = lambda _command: "Cannot connect to the Docker daemon"
    with pytest.raises(CommandError, match="Cannot connect"):
        stack.replace("canary", BAKING)
    engine.fails = lambda _command: ""
    engine.is_empty = True
    with pytest.raises(StackError, match="docker compose ps -a"):
        stack.replace("canary", BAKING)


def test_another_compose_at_the_same_container_is_waited_for(stack: Stack, engine: FakeEngine) -> None:
    """A run that was killed leaves its Compose behind for a while; other errors are not tried again."""
    left = ["the container name is already in use"]
    engine.fails = lambda command: left.pop() if "up --detach" in command and left else ""
    stack.replace("canary", BAKING)
    assert len(engine.asked("up --detach")) == 2
    engine.fails = lambda command: "no space left on device" if "up --detach" in command else ""
    with pytest.raises(CommandError):
        stack.replace("canary", BAKING)
    assert len(engine.asked("up --detach")) == 3


def test_an_image_that_is_not_there_has_no_id(stack: Stack, engine: FakeEngine) -> None:
    """Nor is it an error."""
    engine.fails = lambda command: "No such image" if command.startswith("image inspect") else ""
    assert stack.image_id("model-9") is None


def test_its_own_compose_file_is_used_in_the_checkouts_folder(engine: FakeEngine, tmp_path: Path) -> None:
    """With what the release itself wrote, as soon as it did: relative paths and `.env` are those of the checkout."""
    copy = tmp_path / "copy" / "docker-compose.yml"
    runner: Any = engine
    stack = Stack(tmp_path, "docker", runner, "app", compose_file=copy)
    stack.container("canary")
    stack.write(FIRST)
    stack.container("canary")
    files = [f"compose --project-directory {tmp_path} --file {copy}", f"--file {tmp_path / OVERRIDE} ps --all --quiet canary"]
    first, second = engine.asked("ps --all")
    assert first == f"{files[0]} ps --all --quiet canary"
    assert second == " ".join(files)
