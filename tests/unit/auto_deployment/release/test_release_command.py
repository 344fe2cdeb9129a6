"""`scripts/deploy.sh`: what it asks of a running release, and what it leaves to others."""

from __future__ import annotations

import errno
import json
import os
from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from auto_deployment.common.errors import RefusedError
from auto_deployment.common.lock import is_held, locked
from auto_deployment.common.process import CommandError
from auto_deployment.common.prometheus import UnreachableError
from auto_deployment.common.settings import Settings
from auto_deployment.release import __main__ as command
from auto_deployment.release import operator_requests, preflight
from auto_deployment.release.context import ReleaseContext
from auto_deployment.release.services import FIRST
from auto_deployment.release.stack import Stack
from auto_deployment.release.state import FOLDER, INITIAL, LOCK, ReleaseEnd, load, save
from auto_deployment.release.state_machine import EXIT_STATUS, Ending, OperatorRequest, ReleaseStep, Rollout

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.common.prometheus import Series


BUILDING = Rollout("release", 7, 6, "ann", 0.0, "7-x", ReleaseStep.BUILD, before=FIRST)


class Engine:
    """An engine with every image."""

    def image_id(self, tag: str) -> str:
        """It is there."""
        return f"sha256:{tag}"


class Silence:
    """A Prometheus that is away."""

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """Say so."""
        raise UnreachableError(f"away, {query} from {start} to {end} by {step}")


@pytest.fixture
def context(tmp_path: Path) -> ReleaseContext:
    """Version 6 serves, 5 did before, and 7 is in the tree."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "version.txt").write_text("7\n")
    stack: Any = Engine()
    none: Any = None
    settings = Settings(data_dir=tmp_path / "data", log_dir=tmp_path / "logs")
    found = ReleaseContext(settings, tmp_path, tmp_path / FOLDER, stack, Silence(), [], none)
    save(found.folder, replace(INITIAL, in_service=6, since=1.0, served=(5,)))
    return found


def front(
    context: ReleaseContext, monkeypatch: pytest.MonkeyPatch, on_run: Any, ending: Ending = Ending.PROMOTED
) -> command.DeployCommand:
    """The command, of which each run does that and then ends so."""

    def run(_front: command.DeployCommand) -> int:
        on_run()
        save(context.folder, replace(load(context.folder), under_way=None))
        return EXIT_STATUS[ending]

    monkeypatch.setattr(command.DeployCommand, "_run", run)
    return command.DeployCommand(context, Namespace(by="ann", version=None, again=False, no_shadow=False))


def test_a_rollback_hears_nothing_that_was_asked_of_a_release_before_it(
    context: ReleaseContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale abort would undo it; a newer version stays wanted."""
    for action in ("abort", "promote", "release"):
        found: Any = action
        operator_requests.submit(context.folder, OperatorRequest(found, "bob", 8))
    heard: list[str] = []
    front(
        context, monkeypatch, lambda: heard.extend(each.action for each in operator_requests.pending(context.folder))
    ).rollback()
    assert heard == ["release"]


def test_a_rollback_that_is_refused_leaves_what_was_asked(context: ReleaseContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was meant for what is under way, which somebody resumes."""
    save(context.folder, replace(load(context.folder), under_way=BUILDING))
    operator_requests.submit(context.folder, OperatorRequest("abort", "bob"))
    with pytest.raises(RefusedError):
        front(context, monkeypatch, list).rollback()
    assert [each.action for each in operator_requests.pending(context.folder)] == ["abort"]


def test_a_version_without_an_image_is_not_sent_to_a_release_which_would_refuse_it(
    context: ReleaseContext, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    """A release of an older version names `rollback`; `rollback` names the page that says how to build the image again."""
    monkeypatch.setattr(Engine, "image_id", lambda _engine, _tag: None)
    with pytest.raises(RefusedError, match=r"image of version 5 .*: docs/operations\.md says how to build it again"):
        front(context, monkeypatch, list).rollback()
    page = (root / "docs" / "operations.md").read_text()
    section = page.partition("\n## A version whose image is gone\n")[2].partition("\n## ")[0]
    assert "docker build --tag movierec-app:model-5" in section


def test_an_interrupted_wait_withdraws_its_request(context: ReleaseContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C withdraws an abort that is not acknowledged."""

    def interrupted(*_arguments: object) -> bool:
        raise KeyboardInterrupt

    save(context.folder, replace(load(context.folder), under_way=BUILDING))
    monkeypatch.setattr(operator_requests, "wait_acknowledged", interrupted)
    with locked(context.folder / LOCK, "busy"), pytest.raises(KeyboardInterrupt):
        front(context, monkeypatch, list).abort()
    assert operator_requests.pending(context.folder) == []


@pytest.mark.parametrize(
    ("order", "ending", "status"),
    [
        ("promote", Ending.PROMOTED, 0),
        ("promote", Ending.FAILED, 1),
        ("promote", Ending.INCONCLUSIVE, 4),
        ("abort", Ending.ABORTED, 0),
        ("abort", Ending.FAILED, 1),
        ("abort", Ending.PROMOTED, 3),
    ],
)
def test_an_order_that_goes_on_with_a_killed_run_tells_whether_it_was_done(
    context: ReleaseContext, monkeypatch: pytest.MonkeyPatch, order: str, ending: Ending, status: int
) -> None:
    """Status 0 where it ended as was asked; else what it ended with, and 3 for an abort that came too late."""
    save(context.folder, replace(load(context.folder), under_way=BUILDING))
    assert getattr(front(context, monkeypatch, list, ending), order)() == status


@pytest.mark.parametrize("task", ["release", "resume"])
def test_a_newer_release_is_taken_under_the_lock_and_begun_after_it(
    context: ReleaseContext, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """Whoever left it sees it taken before the lock is free."""
    taken_under_lock: list[bool] = []
    begun: list[tuple[list[str], bool]] = []
    take = operator_requests.acknowledge

    def taken(folder: Path, request: OperatorRequest) -> None:
        taken_under_lock.append(is_held(folder / LOCK))
        take(folder, request)

    monkeypatch.setattr(preflight, "release", lambda *_arguments, **_options: True)
    monkeypatch.setattr(operator_requests, "acknowledge", taken)
    monkeypatch.setattr(os, "execv", lambda _path, words: begun.append((words[1:], is_held(context.folder / LOCK))))
    if task == "resume":
        save(context.folder, replace(load(context.folder), under_way=BUILDING))
    newer = OperatorRequest("release", "bob", 8, ("--again",))
    getattr(front(context, monkeypatch, lambda: operator_requests.submit(context.folder, newer)), task)()
    assert taken_under_lock == [True]
    assert begun == [(["release", "--by", "bob", "--again"], False)]


def test_a_full_disk_is_one_line(
    context: ReleaseContext, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do, and status 1."""

    def full(_front: command.DeployCommand) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "state.json")

    monkeypatch.setattr(command, "_release_context", lambda _options: context)
    monkeypatch.setattr(command.DeployCommand, "resume", full)
    assert command.main(["resume"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line
    assert "scripts/deploy.sh resume" in line


def test_an_end_that_an_older_release_wrote_is_read(context: ReleaseContext) -> None:
    """It does not say which channels took its notice."""
    end = ReleaseEnd(6, Ending.PROMOTED, (), "ann", 0.0, 1.0, 5, "6-x", notified=True)
    save(context.folder, replace(load(context.folder), ends=(end,)))
    path = context.folder / "state.json"
    parsed = json.loads(path.read_text())
    del parsed["ends"][0]["told_by"]
    path.write_text(json.dumps(parsed))
    assert load(context.folder).ends == (end,)


def test_a_release_keeps_the_compose_file_that_it_began_with(tmp_path: Path) -> None:
    """That of its own copy of the code; an operator's COMPOSE_FILE wins, from the environment or `.env`."""
    run = {"MOVIEREC_RUN": "/srv/movierec/scripts/run"}
    assert command.compose_file(run, tmp_path) == command.CODE / "docker-compose.yml"
    assert command.compose_file({}, tmp_path) is None
    assert command.compose_file({**run, "COMPOSE_FILE": "a.yml:b.yml"}, tmp_path) is None
    (tmp_path / ".env").write_text("COMPOSE_FILE=a.yml:b.yml\n")
    assert command.compose_file(run, tmp_path) is None


@pytest.mark.parametrize("answers", [True, False])
def test_status_says_when_no_engine_answers(
    context: ReleaseContext, capsys: pytest.CaptureFixture[str], *, answers: bool
) -> None:
    """What runs is then not known, neither to people nor to programs. The rest is printed all the same."""

    class Client:
        def run(self, *command: str, seconds: float) -> str:
            if "version" in command and answers:
                return "29.0.0"
            raise CommandError(command, f"Cannot connect to the Docker daemon within {seconds:g} s")

    client: Any = Client()
    stack = Stack(context.root, "docker", client, "app")
    options = Namespace(by="ann", json=True)
    shown = command.DeployCommand(replace(context, stack=stack), options)
    assert shown.status() == 0
    output = json.loads(capsys.readouterr().out)
    assert output["engine"] is answers
    assert all("Cannot connect" in each["error"] for each in output["services"].values())
    options.json = False
    assert shown.status() == 0
    text = capsys.readouterr().out
    assert text.count("no Docker engine answers") == (not answers)
    assert "MISSING" not in text
    assert "false alarms" in text
