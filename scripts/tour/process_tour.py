"""The tour without a Docker engine: processes of this machine, without the steps that need containers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from scripts.broker.broker import Broker
from scripts.broker.jars import MissingToolError, kafka_libs
from scripts.demo.local_services import LocalServices
from scripts.demo.settings import DemoFolder
from scripts.rehearse.release_stack import share_environments
from scripts.tour.checkouts import write_settings
from scripts.tour.film_service import TOPIC
from scripts.tour.tour import MORE_LINES, Tour

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.tour.narrator import Narrator

VISIT_SECONDS = 15.0
LEFT_OUT = [
    "test-app, which builds and starts the image",
    "the release of version 1, with shadow, canary and bake",
    "the release of version 2, which is aborted",
]


class ProcessTour(Tour):
    """The steps in their order. `close` ends everything that they started, at any moment."""

    steps = 8

    def __init__(self, folder: Path, port: int, console_port: int, narrator: Narrator) -> None:
        super().__init__(folder, port, console_port, narrator)
        self._demo = DemoFolder(folder / "services")
        self._broker: Broker | None = None
        self._local: LocalServices | None = None

    def require(self) -> list[str]:
        """See Tour. Raises RunError without Java, or without Maven and the broker's jars."""
        try:
            kafka_libs()
        except MissingToolError as error:
            raise RunError(
                f"{error}. Install Java 17 and Maven, or start a Docker engine (scripts/dev engine). "
                "scripts/dev demo needs neither"
            ) from error
        return LEFT_OUT

    def run(self) -> None:
        """See Tour."""
        self.make_hosts()
        broker = self._broker = Broker(self.folder / "kafka", kafka_libs())
        self.start_film_service(broker.address(), broker.start, "popular")
        self._set_up(broker.address())
        with self.narrator.step(
            "Version 1",
            "The retraining reads the topic, trains, and judges the model: RMSE below 1. It publishes data and model with "
            "DVC, and a commit with a tag in git.",
            300,
        ):
            self.retrain(1)
        with self.narrator.step(
            "GitLab's jobs for version 1",
            "The commit starts a pipeline. Its jobs check the data and the model, with the commands of .gitlab-ci.yml.",
            300,
        ):
            self.check("data", "model")
        with self.narrator.step(
            "The server",
            "NGINX shares the visits among two stable services and a canary, all with version 1. A shipper moves each answer "
            "to a database. The console shows answers and versions.",
            180,
        ):
            self._serve()
        with self.narrator.step(
            "Version 2", "Days later there are more lines. The retraining publishes version 2, and GitLab's jobs check it.", 300
        ):
            self.send(MORE_LINES)
            self.retrain(2)
            self.check("data", "model")
        self.explain(1, "--here")
        self.show_messages()

    def watch(self) -> None:
        """See Tour."""
        if self._local is not None:
            self._local.restart_dead()

    def close(self) -> None:
        """See Tour."""
        if self._local is not None:
            self._local.stop()
        super().close()

    def _set_up(self, broker: str) -> None:
        self._demo.folder.mkdir()
        self._local = LocalServices(self._demo, self.port, self.console_port, self.narrator.say)
        self._local.ledger.create()
        database = {"PROVENANCE_URL": self._demo.provenance_url}
        stream = {"KAFKA_BOOTSTRAP_SERVERS": broker, "KAFKA_TOPIC": TOPIC, "USER_API_URL": self.films.api_url}
        write_settings(self.checkouts.retraining, {**database, **stream, **self.messages})
        # The console reads what the server's commands write for it.
        write_settings(self.checkouts.server, {**database, "LOG_DIR": str(self._demo.logs)})

    def _serve(self) -> None:
        server = self.checkouts.server
        share_environments(server)
        self.checkouts.run("git", "pull", "--quiet", cwd=server)
        self.checkouts.run("scripts/run", "scripts.check", "model", "--pull", cwd=server)
        self._demo.data.symlink_to(server / "data")
        if self._local is not None:
            self._local.start()
        self.narrator.look("service", f"curl -i {self.service}/recommend/447528")
        self.narrator.look("console", f"{self.console}/")
        self.start_traffic()
        time.sleep(VISIT_SECONDS)
        self.stop_traffic()
