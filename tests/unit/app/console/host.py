"""What the host side of a stack wrote, for tests and benchmarks of the console."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from app.console.answers import Answers
from app.console.factory import create_console
from app.console.host_files import HostFiles
from app.console.views import Sources
from app.provenance import Ledger
from auto_deployment.common.json_file import write_json_synced
from auto_deployment.release import bake
from auto_deployment.release.analysis.readings import Outcome, Reading
from auto_deployment.release.state import ReleaseState, save
from auto_deployment.release.state_machine import ReleaseStep, Rollout
from auto_deployment.reports import version_report
from tests.unit.app.samples import ROW
from tests.unit.auto_deployment.reports.test_reports_version_report import report

if TYPE_CHECKING:
    from pathlib import Path

    from flask.testing import FlaskClient

    from app.console.prometheus import Prometheus
    from auto_deployment.online_evaluation.metrics import OnlineMetrics
    from auto_deployment.release.analysis.verdict import Verdict

FOLDER = "20260105T080000Z-7"
BAKING = Rollout("release", 7, 6, "ann@host", time.time() - 7200, FOLDER, ReleaseStep.BAKE, bake_began=time.time() - 3600)
READINGS = (
    Reading("slowdown", Outcome.WORSE, 1.4, 1.2, "times", 5120, "up", "the canary is 1.40 times as slow", 7.5, 6.2),
    Reading("memory", Outcome.NO_DATA, None, 2.0, "times", 0, "", "cAdvisor has no data", required=False),
)


class Host:
    """What the host side of a stack wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.releases, self.versions, self.logs = folder / "release", folder / "versioning", folder / "logs"
        self.database = f"sqlite:///{folder / 'provenance.sqlite'}"

    def client(self, prometheus: Prometheus | None = None, *hosts: str) -> FlaskClient:
        """A browser of the console."""
        files = HostFiles(self.releases, self.versions, self.logs / "console")
        return create_console(Sources(prometheus, files, Answers(lambda: self.database)), hosts).test_client()

    def release(self, state: ReleaseState, verdict: Verdict | None = None) -> None:
        """Write the state of releases, and the verdict on the last one."""
        save(self.releases, state)
        if verdict is not None:
            write_json_synced(self.releases / FOLDER / "verdict.json", bake.with_reasons(verdict), public=True)

    def publish(self, number: int, telemetry: OnlineMetrics | None = None) -> None:
        """Write the report of a version."""
        written = report(version=number).model_copy(update={"telemetry": telemetry})
        version_report.write(self.versions / f"report_{number}.json", written)

    def answer(self, user: int = 7) -> str:
        """Record an answer; its id."""
        row = ROW._replace(user_id=user)
        with closing(Ledger(self.database)) as ledger:
            ledger.create()
            ledger.add_answers("journal", [row], 0)
        return row.answer_id


def chain(film: str = "jaws+1975") -> dict[str, object]:
    """The chain behind an answer, as `scripts/provenance why --json` prints it."""
    return {
        "user": 7,
        "request": {},
        "answer": {"films": ["up+2009", film], "computed_by": "the image", "same_as_recorded": True},
        "ranking": {"ranker": "ease", "step": "known", "meaning": "a user of the training data"},
        "drivers": [{"film": film, "did": "rated 5; adds +0.100"}],
        "history": [{"film": film, "stars": 5.0, "rated_at": None, "minutes": 110, "last_at": ""}],
        "version": {},
        "gate": None,
        "release": None,
        "tries": [],
        "missing": {"tries": "no log is kept"},
    }
