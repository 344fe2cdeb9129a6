"""The end of a release on a cluster, with the evidence of a real Prometheus: the verdict's reasons, files and charts."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from auto_deployment.common.json_file import read_typed
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.analysis.evidence import Evidence
from auto_deployment.release.analysis.verdict import Verdict
from auto_deployment.release.announcement import Announcer
from auto_deployment.release.notices import SERVER
from auto_deployment.release.rollout_notices import Api, RolloutNotices
from auto_deployment.release.verdict_service import WithinTime
from tests import argo
from tests.integration.monitoring.test_monitoring_verdict_service import MINUTES, asked, history_of, service_with
from tests.integration.monitoring.tools import prometheus_with

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from auto_deployment.notify import Notice

pytestmark = pytest.mark.slow

WHY = 'Step-based analysis phase error/failed: Metric "verdict" assessed Failed due to failed (1) > failureLimit (0)'


class Channel:
    """A channel that keeps the notices."""

    name = "drum"

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def delivery(self, notice: Notice) -> Callable[[], None]:
        """Keep it."""
        return lambda: self.notices.append(notice)


def notices_of(
    folder: Path,
    channel: Channel,
    limits: Limits,
    api: argo.ApiServer,
    prometheus: str,
    now: Callable[[], float] = time.time,
) -> RolloutNotices:
    """The work of a process with this channel."""
    announcer = Announcer([channel], limits, now, time.sleep, SERVER)
    client = Api(api.url, argo.account(folder / "account"))
    return RolloutNotices(client, argo.NAME, folder / "volume", announcer, lambda: WithinTime(prometheus), lambda: None)


@pytest.mark.parametrize(
    ("errors", "limits", "value", "subject"),
    [
        (0.001, {"bake_minutes": MINUTES - 1}, "pass", "movierec: version 7 promoted: deployed successfully"),
        (0.05, {"bake_minutes": MINUTES + 10}, "fail", "movierec: canary 7 aborted: success per try 94."),
        (
            0.001,
            {"bake_minutes": MINUTES - 2, "max_bake_minutes": MINUTES - 1, "min_requests": 100_000},
            "inconclusive",
            "movierec: canary 7 inconclusive: ",
        ),
    ],
)
def test_an_end_has_the_verdict_that_argo_got(
    tmp_path: Path, errors: float, limits: dict[str, Any], value: str, subject: str
) -> None:
    """Value, reasons and measures are those of the service at the last measurement, also when the canary is gone."""
    began = float(int(time.time()) - MINUTES * 60 - 30)
    measured = began + MINUTES * 60
    channel = Channel()
    with argo.api_server() as api, prometheus_with(tmp_path, history_of(began, errors=errors).lines) as prometheus:
        with service_with(prometheus, **limits) as url:
            _, answer = asked(f"{url}/verdict", version=7, since=began)
        volume = tmp_path / "volume"
        notices = notices_of(tmp_path, channel, Limits(**limits), api, prometheus)
        api.rollout = argo.rollout(6, "six", "six", began - 900)
        notices.look()
        run = argo.analysis("seven", 7, began, (measured - 60, "Inconclusive", "baking"), (measured, "Successful", value))
        run["spec"]["args"][1]["value"] = f"{began:.0f}"
        api.runs = [run]
        if value == "pass":
            api.rollout = argo.rollout(7, "seven", "seven", measured + 5)
        else:
            api.rollout = argo.aborted(7, "seven", "six", began, measured + 1, WHY)
        notices.look()
    (notice,) = channel.notices
    assert answer["verdict"] == value
    assert notice.whole[0].startswith(subject)
    (folder,) = [path for path in volume.iterdir() if path.is_dir()]
    verdict, evidence = read_typed(folder / "verdict.json", Verdict), read_typed(folder / "evidence.json", Evidence)
    assert verdict is not None
    assert evidence is not None
    assert (verdict.decision, evidence.began) == (value, began)
    assert [each.name for each in verdict.readings] == [each["name"] for each in answer["measures"]]
    assert all(f"{each.name}: {each.message}" in notice.whole[1] for each in verdict.readings)
    end = json.loads((folder / "end.json").read_text())
    assert end["began"] == began
    assert end["reasons"] == ([] if value == "pass" else verdict.reasons)
    assert (folder / "report.html").read_text().count("<svg") == 4


@pytest.mark.parametrize(("phase", "value", "count"), [("Error", "", 1), ("Inconclusive", "baking", 0)])
def test_an_end_without_a_verdict_and_a_bake_is_announced_at_once(tmp_path: Path, phase: str, value: str, count: int) -> None:
    """Prometheus answers, and has no bake of this version. Where Argo got a verdict, it may be there later."""
    began = float(int(time.time()) - MINUTES * 60 - 30)
    channel = Channel()
    with argo.api_server() as api, prometheus_with(tmp_path, history_of(began).lines) as prometheus:
        notices = notices_of(tmp_path, channel, Limits(), api, prometheus, lambda: began + 10)
        api.rollout = argo.rollout(6, "six", "six", began - 900)
        notices.look()
        api.runs = [argo.analysis("eight", 8, began, (began + 1, phase, value))]
        api.rollout = argo.aborted(8, "eight", "six", began, began + 2, "RolloutAborted: by hand")
        notices.look()
    subjects = [notice.whole[0] for notice in channel.notices]
    assert len(subjects) == count
    assert all(subject.startswith("movierec: canary 8 aborted: ") for subject in subjects)
    assert not list(tmp_path.glob("volume/*/verdict.json"))
