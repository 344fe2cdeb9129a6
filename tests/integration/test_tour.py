"""`scripts/dev tour` without a Docker engine, as a newcomer meets it: it works, refuses, and leaves nothing running.

The slow tests need Java and Maven, and fail without them.
"""

from __future__ import annotations

import random
import shutil
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from scripts.tour.narrator import WIDTH
from tests.integration.demo_runner import Tour

if TYPE_CHECKING:
    from pathlib import Path

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
STEPS = (
    *("Hosts", "A film service", "Version 1", "GitLab's jobs for version 1", "The server", "Version 2"),
    *("One answer, explained", "Messages"),
)
# From the first process to the last step.
STOP_SECONDS = (3.0, 60.0)


@pytest.mark.slow
def test_the_tour_without_an_engine_names_what_it_leaves_out(tmp_path: Path) -> None:
    """Two versions are published and checked, users are served, one answer is explained and equal to the byte."""
    tour = Tour(tmp_path / "tour", "--check", ranker="auto", **NO_ENGINE)
    ended = tour.run(900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for number, title in enumerate(STEPS, 1):
        assert f"{number}/8 {title}\n" in ended.stdout
    for line in (
        "these steps are left out",
        "- the release of version 1",
        "tag model-2",
        "test-data   passed: the 2 parts of version 2",
        "equal to the byte",
        "movierec: version 2 published",
        "2 mails, 2 messages on Slack, 0 alerts",
        "Nothing runs any more",
    ):
        assert line in ended.stdout
    assert max(len(line) for line in ended.stdout.splitlines() if str(tour.folder) not in line) <= WIDTH
    assert ended.stderr == ""
    assert tour.processes() == []


@pytest.mark.slow
@pytest.mark.crash
def test_a_tour_that_is_stopped_at_any_moment_leaves_no_process(tmp_path: Path) -> None:
    """Neither a process nor a port, whether Ctrl-C or TERM ends it."""
    seed = random.randrange(10**6)
    number, status = random.Random(seed).choice([(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    print(f"seed {seed}: signal {number}")
    tour = Tour(tmp_path / "tour", **NO_ENGINE)
    tour.launch()
    tour.wait_for("1/8 Hosts")
    time.sleep(random.Random(seed).uniform(*STOP_SECONDS))
    assert tour.stop(number) == status, tour.output()
    assert tour.processes() == [], tour.output()
    socket.create_server(("", tour.port)).close()
    assert "Nothing runs any more" in tour.output()


@pytest.mark.slow
def test_a_tour_that_fails_before_anything_runs_ends(tmp_path: Path) -> None:
    """Git cannot make the hosts: the step and git's words, and no wait for servers that never began."""
    tour = Tour(tmp_path / "tour", "--check", GIT_TEMPLATE_DIR="/nowhere", GIT_CONFIG_GLOBAL=str(tmp_path), **NO_ENGINE)
    ended = tour.run(120)
    assert ended.returncode == 1, ended.stdout
    assert "tour: step 1 of 8 failed (Hosts): git " in ended.stderr
    assert "This failed. The reason is at the end." in ended.stdout
    assert tour.processes() == []


@pytest.mark.slow
def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    """With the option that chooses another one."""
    tour = Tour(tmp_path / "tour", "--check", **NO_ENGINE)
    with socket.create_server(("", tour.console_port)):
        ended = tour.run()
    assert ended.returncode == 1
    assert f"port {tour.console_port} is taken or not allowed: stop what listens there, or use --console-port" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "1/8" not in ended.stdout


def test_without_java_and_without_an_engine_it_says_what_to_do(tmp_path: Path) -> None:
    """One line, before anything starts."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "env", "cksum", "cat", "git", "dirname", "python3", "sed", "timeout", "uname"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    ended = Tour(tmp_path / "tour", "--check", PATH=f"{programs}", **NO_ENGINE).run()
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "a broker needs Java 17 or newer" in ended.stderr
    assert "or start a Docker engine (scripts/dev engine)" in ended.stderr
    assert ended.stderr.count("\n") == 1
