"""What both forms of the tour share: hosts, film service, retraining runs, GitLab's jobs, one answer, the messages."""

from __future__ import annotations

import json
import re
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from auto_deployment.common.errors import RunError
from auto_deployment.provenance.chain import AnswerChain
from scripts.ports import reserve
from scripts.rehearse.__main__ import mail_settings
from scripts.rehearse.mailbox import LOOPBACK, Mailbox
from scripts.rehearse.release_stack import share_environments
from scripts.rehearse.traffic import Traffic, Visits
from scripts.tour.checkouts import Checkouts
from scripts.tour.family import end_children
from scripts.tour.film_service import TOPIC, FilmService
from scripts.tour.narrator import shown
from scripts.tour.slack import SlackSink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scripts.tour.narrator import Narrator

FIRST_LINES, MORE_LINES = 12_000, 6_000
RATE = 60.0
SHIP_SECONDS = 30.0
# Of the many lines of a retraining run, those that its reader needs.
TELLING = re.compile(
    r"[\d,]+ lines: |\d+ quarantined|[\d,]+ users, .* films watched|users answered|"
    r"RMSE [\d.]+ |the gate |ranked by \w+, the best"
)
MOST_DRIVERS = 3


class Server(Protocol):
    """A server in this process."""

    def start(self) -> None:
        """Begin to answer."""

    def stop(self) -> None:
        """Answer no more."""


class Tour(ABC):
    """What every tour has: remotes and clones, the film service, a mail server and a Slack.

    `steps` is the number of steps. `films` exists from its step on. `visits` has the results of all traffic.
    """

    steps: ClassVar[int]

    def __init__(self, folder: Path, port: int, console_port: int, narrator: Narrator, messages_host: str = LOOPBACK) -> None:
        """Mail server and Slack listen on `messages_host`, an address of this machine."""
        self.folder = folder
        self.narrator = narrator
        self.port, self.console_port = port, console_port
        self.checkouts = Checkouts(folder)
        (mail_port,) = reserve()
        self.mailbox, self.slack = Mailbox(mail_port, messages_host), SlackSink(messages_host)
        self.messages = {**mail_settings(mail_port, messages_host), "SLACK_WEBHOOK_URL": self.slack.url}
        self.visits: list[Visits] = []
        self._films: FilmService | None = None
        self._traffic: Traffic | None = None
        # What runs in this process. A server that was never started could not be stopped.
        self._started = ExitStack()

    @property
    def films(self) -> FilmService:
        """The film service. Raises RunError before its step."""
        if self._films is None:
            raise RunError("the film service does not run yet")
        return self._films

    @property
    def console(self) -> str:
        """The console's address."""
        return f"http://127.0.0.1:{self.console_port}"

    @property
    def service(self) -> str:
        """NGINX's address."""
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def require(self) -> list[str]:
        """Check what the tour needs, and remove what a killed tour left. Returns a line for each step that is left out.

        Raises RunError that says what is missing.
        """

    @abstractmethod
    def run(self) -> None:
        """All steps. Raises StepError for the first one that fails."""

    @abstractmethod
    def watch(self) -> None:
        """Called again and again while the tour stays up. Raises RunError for something that does not run any more."""

    def addresses(self) -> Sequence[tuple[str, str]]:
        """What can be explored while the tour stays up."""
        return [
            ("service", f"curl -i {self.service}/recommend/{self.films.user}"),
            ("console", f"{self.console}/"),
            ("retraining", f"cd {shown(self.checkouts.retraining)} && scripts/run auto_deployment.auto_deploy"),
        ]

    def close(self) -> None:
        """Stop all that runs. Raises RunError if something stays."""
        end_children()
        self._started.close()

    def make_hosts(self) -> None:
        """Step: remotes, clones, mail and Slack."""
        with self.narrator.step(
            "Hosts",
            "A git remote and a DVC remote, and a clone of the project for each host: the retraining, GitLab's runner, the "
            "server and a developer. A mail server and a Slack webhook keep what is sent to people. The first tour also "
            "installs packages, in one to two minutes.",
            600,
        ):
            self._start(self.mailbox)
            self._start(self.slack)
            self.checkouts.create()
            share_environments(self.checkouts.retraining)
            self.narrator.look("commits", f"git -C {shown(self.checkouts.remote)} log --oneline")

    def start_film_service(self, address: str, start_broker: Callable[[], None], recommender: str) -> None:
        """Step: the broker and the film service."""
        with self.narrator.step(
            "A film service",
            "The simulator plays the film service: 900 users watch and rate 400 films. Each event is a line on a topic of a "
            "real Kafka broker. An API answers questions about users and films.",
            180,
        ):
            start_broker()
            self._films = FilmService(address, recommender)
            self._start(self.films)
            self.films.write_users(self._users)
            self.send(FIRST_LINES)
            self.narrator.look("topic", f"{TOPIC} at {address}")
            self.narrator.look("a user", f"curl {self.films.api_url}/user/{self.films.user}")

    def send(self, lines: int) -> None:
        """Write the film service's next lines to the topic. Raises OutputError."""
        self.films.send(lines)
        self.narrator.say(f"{lines:,} lines came to the topic")

    def retrain(self, number: int) -> None:
        """Run the retraining command, show its main lines, and check that it published version `number`. Raises RunError."""
        here, run = self.checkouts.retraining, self.checkouts.run
        run("git", "pull", "--quiet", cwd=here)
        self.narrator.look("by hand", f"cd {shown(here)} && scripts/run auto_deployment.auto_deploy")
        run("scripts/run", "auto_deployment.auto_deploy", cwd=here, show=self._show_telling)
        published = (here / "data" / "version.txt").read_text().strip()
        if published != str(number):
            raise RunError(f"the retraining published version {published} instead of {number}: see {shown(here / 'logs')}")
        self.narrator.say(f"published: {self.checkouts.last_commit(here, 'origin/main')}, tag model-{number}")

    def check(self, *whats: str) -> str:
        """Run GitLab's jobs on what the git remote has now. Returns the commit. Raises RunError."""
        here, remote = self.checkouts.gitlab, {"DVC_URL": str(self.checkouts.dvc_remote)}
        self.checkouts.run("git", "pull", "--quiet", cwd=here)
        self.checkouts.run("scripts/gitlab/data-remote", cwd=here, environment=remote)
        self.narrator.look("by hand", f"cd {shown(here)} && scripts/dev check {whats[-1]}")
        for what in whats:
            output = self.checkouts.run("scripts/dev", "check", what, "--pull", cwd=here, environment=remote)
            first = output.strip().splitlines()[0].removeprefix(f"check {what}: ")
            self.narrator.say(f"{f'test-{what}':10}  passed: {first}")
        return self.checkouts.run("git", "rev-parse", "HEAD", cwd=here).strip()

    def start_traffic(self) -> None:
        """Let the film service's users visit, until `stop_traffic`."""
        self._traffic = Traffic(self.port, RATE, self.folder / "visits.log", self.checkouts.environment, self._users)
        self._traffic.start()

    def stop_traffic(self) -> None:
        """End the visits and note their results. Raises RunError if the simulator failed."""
        if self._traffic is not None:
            traffic, self._traffic = self._traffic, None
            self.visits.append(traffic.stop())
            self.narrator.say(words_of(self.visits[-1]))

    def explain(self, version: int, *options: str) -> None:
        """Step: explain an answer of the traffic, and compute it again."""
        with self.narrator.step(
            "One answer, explained",
            "Every answer has a row in the database. One of the visits is traced to its version, data, commit and history. "
            "Then it is computed again and compared.",
            300,
        ):
            here, run = self.checkouts.server, self.checkouts.run
            answer = self._answer_of(version)
            chain = run("scripts/provenance", "why", answer, "--json", "--console", *options, cwd=here)
            for line in explaining(AnswerChain.model_validate_json(chain)):
                self.narrator.say(line)
            self.narrator.look("by hand", f"cd {shown(here)} && scripts/provenance why {answer}")
            self.narrator.look("in a browser", f"{self.console}/answers/{answer}")
            for line in run("scripts/provenance", "replay", answer, *options, cwd=here).splitlines()[1:]:
                self.narrator.say(line)

    def show_messages(self) -> None:
        """Step: the mails and Slack messages."""
        with self.narrator.step("Messages", "What people got by mail, and the same on Slack.", 60):
            kept, alerts = self.folder / "mails", set(self.slack.alerts)
            kept.mkdir()
            notices = 0
            for number, mail in enumerate(self.mailbox.mails, 1):
                subject = " ".join(str(mail["Subject"]).split())
                (kept / f"{number}.txt").write_text(f"{subject}\n\n{mail.get_content()}")
                self.narrator.say(f"{number:>2} {'alert: ' if subject in alerts else ''}{subject}")
                notices += subject not in alerts
            self.narrator.say(f"{notices} mails, {len(self.slack.messages)} messages on Slack, {len(alerts)} alerts")
            self.narrator.look("to read", f"cat {shown(kept / '1.txt')}")

    @property
    def _users(self) -> Path:
        """The ids of the film service's users, for the visits."""
        return self.folder / "users.txt"

    def _start(self, server: Server) -> None:
        server.start()
        self._started.callback(server.stop)

    def _show_telling(self, line: str) -> None:
        if TELLING.search(line):
            self.narrator.say(line.strip())

    def _answer_of(self, version: int) -> str:
        """The id of the newest answer of a version to a user with a history, once it is in the database. Raises RunError."""
        ratings = (self.checkouts.retraining / "data" / "clean_rating.csv").read_text().split("\n", 2)
        user = ratings[1].split(",")[0]
        until = time.monotonic() + SHIP_SECONDS
        while time.monotonic() < until:
            # Status 1: nothing was served to the user yet.
            output = self.checkouts.run("scripts/provenance", "user", user, "--json", cwd=self.checkouts.server, allowed=(0, 1))
            answers: list[dict[str, Any]] = json.loads(output or "[]")
            if found := [each for each in answers if each["version_number"] == version]:
                return str(max(found, key=lambda each: str(each["served_at"]))["answer_id"])
            time.sleep(1)
        raise RunError(f"no answer of version {version} to user {user} came to the database within {SHIP_SECONDS:g} s")


def explaining(chain: AnswerChain) -> list[str]:
    """What a newcomer needs of a chain: who got the answer from which version, and the films that drove it most. Pure."""
    version, request = chain.version, chain.request
    rows = ", ".join(f"{each['rows']:,} rows of {table}" for table, each in (version.rows or {}).items())
    return [
        f"served: to user {chain.user} at {request.served_at[:19]}Z, by version {version.number} on the track {request.track}",
        f"trained: {version.trained_on} on {rows}",
        f"code: commit {(version.code or '-')[:7]}; the version's own commit: {(version.commit or '-')[:7]}",
        f"ranked: by {chain.ranking.ranker}, step {request.step}",
        *(f"driven by: {each.film}: {each.did}" for each in chain.drivers[:MOST_DRIVERS]),
        *(f"missing: {name}: {reason}" for name, reason in chain.missing.items()),
    ]


def words_of(visits: Visits) -> str:
    """The results of visits in one line. Pure."""
    kinds = f" ({visits.kinds})" if visits.kinds else ""
    return f"visits: {visits.requests:,} requests, {visits.failed} failed{kinds}, 99 % within {visits.p99:.0f} ms"
