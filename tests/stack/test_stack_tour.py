"""`scripts/dev tour` on a real engine: the whole cycle, and nothing that stays."""

from __future__ import annotations

import random
import signal
import time
import zlib
from typing import TYPE_CHECKING

import pytest

from scripts.lib.images.docker import docker
from scripts.tour.narrator import WIDTH
from tests.integration.demo_runner import Tour

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.stack

TOUR_SECONDS = 1800.0
STEPS = (
    *("Images", "Hosts", "The server", "A film service", "Version 1", "GitLab's jobs for version 1", "Release of version 1"),
    *("Version 2, with a mistake", "Release of version 2", "One answer, explained", "Messages"),
)
# In this order.
EVENTS = (
    "tag model-1",
    "test-data   passed",
    "test-model  passed",
    "test-app    passed",
    "deploy      passed",
    " bake ...",
    "min: pass",
    " promoted",
    "merged: ",
    "tag model-2",
    "min: fail",
    " aborted",
    "by version 1 on the track",
    "equal to the byte",
    "movierec: version 1 published",
    "movierec: version 1 promoted: deployed successfully",
    "movierec: version 2 published",
    "movierec: canary 2 aborted",
    "4 mails, 4 messages on Slack, ",
    "Nothing runs any more",
)
# From the first container to the end of the first release.
STOP_SECONDS = (5.0, 120.0)


def left_behind(folder: Path) -> list[str]:
    """What the engine still has of a tour."""
    name = f"movierec-tour-{zlib.crc32(str(folder).encode()):08x}"
    project = f"label=com.docker.compose.project={name}"
    kinds = (
        ("ps", "--all", "--quiet", "--filter", f"name=^/?{name}-"),
        ("volume", "ls", "--quiet", "--filter", project),
        ("network", "ls", "--quiet", "--filter", project),
        ("image", "ls", "--quiet", name),
    )
    return [each for kind in kinds for each in docker(*kind).split()]


def test_the_tour_shows_the_whole_cycle_and_leaves_nothing(tmp_path: Path) -> None:
    """Version 1 is promoted, slower version 2 is aborted, one answer is explained and replayed, four mails are sent."""
    tour = Tour(tmp_path / "tour", "--check", ranker="auto")
    ended = tour.run(TOUR_SECONDS)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    for number, title in enumerate(STEPS, 1):
        assert f"{number}/11 {title}\n" in ended.stdout
    at = 0
    for event in EVENTS:
        assert event in ended.stdout[at:], f"{event!r} is missing, or too early"
        at = ended.stdout.index(event, at)
    assert max(len(line) for line in ended.stdout.splitlines() if str(tour.folder) not in line) <= WIDTH
    assert tour.processes() == []
    assert left_behind(tour.folder) == []


def test_a_tour_that_is_stopped_at_any_moment_leaves_nothing(tmp_path: Path) -> None:
    """No process, container, volume, network or image, whether Ctrl-C or TERM ends it."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    number, status = chance.choice([(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    seconds = chance.uniform(*STOP_SECONDS)
    print(f"seed {seed}: signal {number} after {seconds:.0f} s")
    tour = Tour(tmp_path / "tour")
    tour.launch()
    tour.wait_for("3/11 The server")
    time.sleep(seconds)
    assert tour.stop(number) == status, tour.output()
    print(tour.output())
    assert tour.processes() == []
    assert left_behind(tour.folder) == []
