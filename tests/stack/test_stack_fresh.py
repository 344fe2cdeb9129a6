"""Freshness in the stack: what users watch and rate counts within seconds, through kills, an outage and a release."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Self

import pytest
from confluent_kafka import Producer

from app.events import Rating, Watch, to_line
from app.model import load_serving
from scripts.broker.broker import send
from scripts.broker.container import IMAGE, ContainerBroker
from scripts.lib.images.__main__ import get_images
from scripts.rehearse.release_stack import ReleaseStack
from scripts.tour.checkouts import write_settings
from tests.integration.load import Load
from tests.stack.stack import ROOT, SERVICES, wait_until
from tests.unit.app.crashes import rounds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.events import Event

pytestmark = pytest.mark.stack

NAME, TOPIC = "movierec-test-fresh", "movielog"
FOLLOWERS = ("fresh", "fresh-canary")
TIME = "2026-11-29T12:00:00"
# On a busy machine; docs/freshness.md has what was measured on a quiet one.
SECONDS = 30.0
LATE_SECONDS, VIEW_SECONDS, MOST_BEGUN = 30.0, 60.0, 20
NEW_USER, COUNTED = 1_900_000, 1_900_001
KILLS, SOAK_KILLS = 3, 50
# Half of the lines are minutes of one user, and count to the line.
LINES, LINES_SECONDS = 28, 0.05
# Prints how many minutes of a user the overlay of the container's version has.
MINUTES = """
import sys
from pathlib import Path
from app.fresh.overlay import Reader, folder_of, unpack
from app.model import read_metadata
from app.settings import FreshSettings
settings = FreshSettings()
version = int(read_metadata(settings.model_dir)["version"])
content = Reader(folder_of(settings.fresh_dir, settings.model_dir, version)).find(int(sys.argv[1]))
print(0 if content is None else sum(unpack(content).minutes))
"""


class Site:
    """The stack with freshness, and the film service's topic."""

    def __init__(self, stack: ReleaseStack, broker: ContainerBroker) -> None:
        self.stack = stack
        self.broker = broker
        self.model = load_serving(stack.folder / "data" / "model")
        self._producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 5, "log_level": 0})
        self._users = iter(self.model.users.tolist())

    def say(self, *events: Event) -> None:
        """Write the lines of events to the topic."""
        send(self._producer, TOPIC, (to_line(event).encode() for event in events))
        assert self._producer.flush(60) == 0

    def films(self, user: int) -> list[str]:
        """The answer for a user."""
        with closing(HTTPConnection("127.0.0.1", self.stack.port, timeout=5)) as connection:
            connection.request("GET", f"/recommend/{user}")
            answer = connection.getresponse()
            body = answer.read().decode()
            assert answer.status == 200, body
            return body.split(",")

    def users(self, count: int) -> list[int]:
        """Known users that no other test has."""
        return [next(self._users) for _ in range(count)]

    def watch_first(self, users: list[int]) -> dict[int, str]:
        """Let each of these users begin the first film of the user's list. Returns the films."""
        begun = {user: self.films(user)[0] for user in users}
        self.say(*(Watch(TIME, user, film, 0) for user, film in begun.items()))
        return begun

    def wait_until_gone(self, begun: dict[int, str], seconds: float = SECONDS) -> None:
        """Wait until no answer has the film that its user has begun."""
        wait_until(lambda: self.came_back(begun) == [], seconds, "begun films are gone")

    def came_back(self, begun: dict[int, str]) -> list[int]:
        """The users whose answer has the film that they have begun."""
        return [user for user, film in begun.items() if film in self.films(user)]

    def kill(self, service: str) -> None:
        """Kill a container's first process, as the kernel would."""
        os.kill(
            int(self.stack.docker("inspect", "--format", "{{.State.Pid}}", self.stack.container(service)).stdout),
            signal.SIGKILL,
        )

    def as_of(self, service: str) -> float:
        """Up to when a service's answers follow the stream."""
        return float(self.stack.readiness(service)["fresh_as_of"] or 0)

    def minutes(self, user: int) -> int:
        """A user's minutes in the overlay."""
        done = self.stack.compose("exec", "-T", FOLLOWERS[0], "python", "-c", MINUTES, str(user))
        return int(done.stdout)

    def wait_until_fresh(self) -> None:
        """Wait until every service follows what has come by now."""
        now = time.time()
        wait_until(lambda: min(map(self.as_of, SERVICES)) >= now, 60, "the services are fresh")


def train(folder: Path) -> None:
    """Train the sample's version with a fresh part, and with item weights."""
    environment = {**os.environ, "DATA_DIR": str(folder / "data"), "FRESH": "true", "RANKER": "ease", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "auto_deployment.sample"]
    subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, timeout=300, check=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A separate stack that serves version 1, and a broker."""
    get_images([IMAGE], print)
    broker = ContainerBroker(f"{NAME}-broker")
    settings = {
        "FRESH": "true",
        "COMPOSE_PROFILES": "fresh",
        "KAFKA_BOOTSTRAP_SERVERS": broker.inner_address,
        "KAFKA_TOPIC": TOPIC,
    }
    stack = ReleaseStack(tmp_path_factory.mktemp("fresh"), NAME, **settings)
    write_settings(stack.folder, stack.settings)
    train(stack.folder)
    stack.put_version(1)
    broker.stop()
    stack.down()
    try:
        broker.start()
        stack.up()
        broker.join(f"{NAME}_stream")
        made = Site(stack, broker)
        made.say(Watch(TIME, 1, "a+film+that+nobody+knows+1900", 0))
        made.wait_until_fresh()
        yield made
    finally:
        broker.stop()
        stack.down()
    assert stack.left_behind() == []


class Stream(threading.Thread):
    """Writes minutes of films to the topic, 560 lines a second. `minutes` of them are of the user `COUNTED`."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site
        self._stop_now = threading.Event()
        self.minutes = 0

    def run(self) -> None:
        """Write until the end of the `with`."""
        films, chance = self._site.model.films[:100], random.Random(0)
        while not self._stop_now.wait(LINES_SECONDS):
            users = [COUNTED if place % 2 else chance.randrange(10**6, 1_800_000) for place in range(LINES)]
            self._site.say(*(Watch(TIME, user, chance.choice(films), 1) for user in users))
            self.minutes += users.count(COUNTED)

    def __enter__(self) -> Self:
        """Begin."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write no more."""
        self._stop_now.set()
        self.join(60)
        assert not self.is_alive()


@contextmanager
def under_load(site: Site, *versions: int) -> Iterator[None]:
    """Clients send requests all the time. None fails, and all answers are of these versions."""
    load = Load(site.stack.port, 10**9, 4, 0.02)
    load.start()
    try:
        yield
    finally:
        load.stop()
    assert load.failures == [], [each for each in site.stack.tries() if each["status"] != 200]
    assert load.statuses.total() == load.statuses[200] > 100
    assert {*load.versions} == {*map(str, versions)}
    print(f"{load.statuses.total()} answers of versions {versions}, and no other")


def test_a_begun_film_is_gone_within_seconds(site: Site) -> None:
    """From the answers of every service, for each of 100 users."""
    began = time.monotonic()
    waiting = site.watch_first(site.users(100))
    seconds = []
    while waiting and time.monotonic() - began < SECONDS:
        for user, film in list(waiting.items()):
            if all(film not in site.films(user) for _ in range(5)):
                del waiting[user]
                seconds.append(time.monotonic() - began)
    assert not waiting
    print(f"99 of 100 begun films were gone after {sorted(seconds)[98]:.1f} s")


class Viewer(threading.Thread):
    """Asks for lists of its users, and begins a film of each fifth list. Counts the begun films that it looked for long after.

    `wrong` has the answers with a film that its user had begun long before, and those that failed.
    """

    def __init__(self, site: Site, users: list[int], answers: int, seed: int) -> None:
        super().__init__()
        self._site = site
        self._users = users
        self._least = answers
        self._chance = random.Random(seed)
        self._begun = dict[int, dict[str, float]]()
        self.answers, self.looked_for = 0, 0
        self.wrong: list[str] = []

    def run(self) -> None:
        """Ask for lists over one connection, for VIEW_SECONDS and for the least number of answers."""
        until = time.monotonic() + VIEW_SECONDS
        with closing(HTTPConnection("127.0.0.1", self._site.stack.port, timeout=5)) as connection:
            while self.answers < self._least or time.monotonic() < until:
                self._ask(connection, self._chance.choice(self._users))
                time.sleep(0.01)

    def _ask(self, connection: HTTPConnection, user: int) -> None:
        asked, begun = time.monotonic(), self._begun.setdefault(user, {})
        connection.request("GET", f"/recommend/{user}")
        answer = connection.getresponse()
        films = answer.read().decode().split(",")
        if answer.status != 200:
            self.wrong.append(f"{user}: {answer.status}")
        long_begun = {film for film, when in begun.items() if asked - when > LATE_SECONDS}
        self.wrong += [f"{user}: {film}" for film in long_begun & {*films}]
        self.looked_for += len(long_begun)
        self.answers += 1
        if self._chance.random() < 0.2 and len(begun) < MOST_BEGUN:
            film = self._chance.choice(films)
            self._site.say(Watch(TIME, user, film, 0))
            begun.setdefault(film, time.monotonic())


def test_no_answer_has_a_film_that_was_begun_half_a_minute_before(site: Site, request: pytest.FixtureRequest) -> None:
    """Of the answers of a minute, and of 100,000 in a soak, to users whom the version knows and to others."""
    answers = 100_000 if request.config.getoption("--soak-hours") else 0
    viewers = [Viewer(site, [*site.users(20), *range(seed, 200, 10)], answers // 4, seed) for seed in range(1, 5)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join(1800)
        assert not viewer.is_alive()
    assert [viewer.wrong for viewer in viewers] == [[], [], [], []]
    assert sum(viewer.looked_for for viewer in viewers) > 1_000
    print(f"{sum(viewer.answers for viewer in viewers)} answers had no film begun more than {LATE_SECONDS:g} s before")


def test_a_rating_of_a_new_user_changes_the_list(site: Site) -> None:
    """It was the popular one. What the new list was computed from reaches the database."""
    popular = site.films(NEW_USER)
    rated = site.model.films[int(site.model.top[0, 0])]
    site.say(Rating(TIME, NEW_USER, rated, 5.0))
    wait_until(
        lambda: site.films(NEW_USER) not in (popular, [film for film in popular if film != rated]), SECONDS, "a new list"
    )
    assert rated not in site.films(NEW_USER)
    query = "SELECT COUNT(*) FROM served_lists WHERE user_id = %s"
    wait_until(lambda: site.stack.rows(query, NEW_USER) != [(0,)], SECONDS, "the list's row")
    assert site.stack.rows("SELECT DISTINCT step FROM reccom WHERE user_id = %s ORDER BY step", NEW_USER)[0] == ("fresh",)


def test_kills_and_an_outage_of_kafka_cost_no_answer_and_bring_no_film_back(site: Site, request: pytest.FixtureRequest) -> None:
    """What comes meanwhile counts once the process or Kafka is back, and once only. The metrics say how fresh answers are."""
    watched = site.watch_first(site.users(20))
    site.wait_until_gone(watched)
    # Another test may have released a version before.
    served = site.stack.readiness(SERVICES[0])["version"]
    with Stream(site) as stream, under_load(site, served):
        soak = bool(request.config.getoption("--soak-hours"))
        for chance in rounds(request, SOAK_KILLS if soak else KILLS):
            # Docker doubles its pause before each start of a container that ran for less than 10 s.
            time.sleep(chance.uniform(0, 20 if soak else 2))
            for follower in FOLLOWERS:
                site.kill(follower)
            later = site.watch_first(site.users(5))
            some = dict(chance.sample(sorted(watched.items()), 20))
            assert site.came_back(some) == []
            watched |= later
            began = time.monotonic()
            site.wait_until_gone(later, 90)
            print(f"fresh again {time.monotonic() - began:.1f} s after a kill")
        site.wait_until_fresh()
        assert site.came_back(watched) == []
        site.stack.docker("pause", f"{NAME}-broker")
        try:
            paused = time.time()
            time.sleep(8)
            assert max(map(site.as_of, SERVICES)) <= paused
            assert site.came_back(watched) == []
        finally:
            site.stack.docker("unpause", f"{NAME}-broker")
        later = site.watch_first(site.users(5))
        site.wait_until_gone(later, 90)
    # Minutes alone change no answer, and are written with the next change.
    site.say(Watch(TIME, COUNTED, site.model.films[-1], 0))
    counted = stream.minutes + 1
    wait_until(lambda: site.minutes(COUNTED) >= counted, SECONDS, "all lines count")
    assert site.minutes(COUNTED) == counted
    print(f"{counted} of {counted} minutes count")
    known = 'fresh_as_of_seconds{service="stable-1", track="stable"} > 0'
    wait_until(lambda: site.stack.query_prometheus(known) != [], 60, "the metric")


def test_followers_reach_kafka_and_nothing_else(site: Site) -> None:
    """They have no way to database and services, and services have no way to Kafka and cannot write what they read."""
    program = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
    host, _, port = site.broker.inner_address.rpartition(":")

    def reaches(service: str, *address: str) -> bool:
        return site.stack.compose("exec", "-T", service, "python", "-c", program, *address, check=False).returncode == 0

    assert reaches("fresh", host, port)
    assert not reaches("fresh", "mysql", "3306")
    assert not reaches("fresh", site.stack.address("stable-1"), "5000")
    assert not reaches("stable-1", host, port)
    written = site.stack.compose("exec", "-T", "stable-1", "touch", "/var/lib/movierec/fresh/x", check=False)
    assert "Read-only file system" in written.stderr
    (details,) = json.loads(site.stack.docker("inspect", site.stack.container("fresh")).stdout)
    host_config = details["HostConfig"]
    assert (details["Config"]["User"], host_config["ReadonlyRootfs"], host_config["CapDrop"]) == ("10001:10001", True, ["ALL"])


def test_a_new_version_is_fresh_before_its_canary_enters(site: Site) -> None:
    """A begun film stays away through the whole release, from the answers of both versions, and no request fails."""
    watched = site.watch_first(site.users(20))
    site.wait_until_gone(watched)
    site.stack.put_version(2)
    with under_load(site, 1, 2):
        process = site.stack.start("release", "--no-shadow")
        while process.poll() is None:
            assert site.came_back(watched) == []
            time.sleep(0.5)
        status, output = site.stack.wait_for_end(process)
    assert status == 0, output
    assert site.stack.problems() == []
    images = {
        each: site.stack.docker("inspect", "--format", "{{.Config.Image}}", site.stack.container(each)).stdout
        for each in FOLLOWERS
    }
    assert images == dict.fromkeys(FOLLOWERS, f"{NAME}:model-2\n")
    later = site.watch_first(site.users(5))
    site.wait_until_gone(later)
