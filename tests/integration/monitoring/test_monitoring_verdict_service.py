"""The verdict as a service, in a Gunicorn of its own, over a real Prometheus that has scraped anonymous pods."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.metrics import SECONDS
from auto_deployment.common.prometheus import Prometheus
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.analysis.verdict import Decision
from auto_deployment.release.verdict_service import BEGIN_STEP, DNS_SECONDS, NoVerdictError, Query, judge, read_bake
from scripts.ports import reserve
from tests.integration.conftest import wait_until
from tests.integration.monitoring.test_monitoring_queries import RULE, SCRAPE, History, pasted
from tests.integration.monitoring.tools import docker, prometheus_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
MINUTES = 30
# Five minutes before the bake; the pods of stable are there first.
TIMES = np.arange(-300, MINUTES * 60 + 61, SCRAPE)
BEFORE, AFTER = int(TIMES[0]), int(TIMES[-1])


@dataclass(frozen=True)
class Pod:
    """A pod that serves from one second of the bake to another. Its container begins anew in the seconds `restarts`.

    In the spans `down` its container is away.
    """

    name: str
    track: str
    begin: int
    end: int
    version: int
    restarts: tuple[int, ...] = ()
    down: tuple[tuple[int, int], ...] = ()


# A pod and its successor share one scrape.
CANARIES = (Pod("c-1", "canary", 0, 700, 7), Pod("c-2", "canary", 700, AFTER, 7))
STABLES = (Pod("s-1", "stable", BEFORE, 900, 6), Pod("s-2", "stable", 900, AFTER, 6), Pod("s-3", "stable", BEFORE, AFTER, 6))
RESTARTED = (CANARIES[0], replace(CANARIES[1], restarts=(1300,)))
NGINX = (("n-1", BEFORE, 1200), ("n-2", 1200, AFTER))


def history_of(began: float, *, errors: float | Floats = 0.001, canaries: Sequence[Pod] = CANARIES) -> History:
    """A bake of version 7 from `began` on. The canary's tries fail by `errors`, one share for all scrapes or one for each."""
    rng, found = np.random.default_rng(1), History(began, TIMES)
    for pod in (*canaries, *STABLES):
        there = (pod.begin <= TIMES) & (pod.end >= TIMES)
        is_up = there & ~np.any([(begin < TIMES) & (end > TIMES) for begin, end in ((0, 0), *pod.down)], axis=0)
        labels = f'job="service",pod="{pod.name}",track="{pod.track}",version="{pod.version}"'
        counts = np.where(is_up, rng.poisson(20.0, len(TIMES)), 0).astype(float)
        above: Floats = 0.98 * np.exp(-np.array(SECONDS) / 0.002) + 0.02 * np.exp(-np.array(SECONDS) / 0.01)
        buckets = rng.multinomial(counts.astype(int), -np.diff([1.0, *above, 0.0])).astype(float)
        for number, edge in enumerate([*map(repr, SECONDS), "+Inf"]):
            below = counted(buckets[:, : number + 1].sum(axis=1), pod.restarts)
            found.add(f'flask_http_request_duration_seconds_bucket{{{labels},{RULE},le="{edge}"}}', below, is_up)
        seconds = counts * rng.gamma(20.0, 0.0001, len(TIMES))
        found.add(f"flask_http_request_duration_seconds_count{{{labels},{RULE}}}", counted(counts, pod.restarts), is_up)
        found.add(f"flask_http_request_duration_seconds_sum{{{labels},{RULE}}}", counted(seconds, pod.restarts), is_up)
        started = np.full(len(TIMES), began + pod.begin - 5.0)
        for anew in pod.restarts:
            started[anew <= TIMES] = began + anew
        found.add(f"service_start_time_seconds{{{labels}}}", started, is_up)
        found.add(f"service_worker_exits_total{{{labels}}}", np.zeros(len(TIMES)), is_up)
        found.add(f'up{{job="service",pod="{pod.name}"}}', is_up.astype(float), there)
        memory = f'container_memory_rss{{job="cadvisor",namespace="movierec",pod="{pod.name}",container='
        for container, size in (("service", 8e7), ("shipper", 2e7)):
            found.add(f'{memory}"{container}"}}', rng.uniform(size, 1.01 * size, len(TIMES)), there)
    for nginx, begin, end in NGINX:
        there = (begin <= TIMES) & (end >= TIMES)
        for track, rate, failing in (("canary", 10.0, errors), ("stable", 40.0, 0.001)):
            tries = f'nginx_tries_total{{job="mtail",pod="{nginx}",track="{track}",outcome='
            while_baking = there & ((TIMES >= 0) | (track == "stable"))
            for outcome, share in (("2xx", 1 - failing), ("5xx", failing)):
                steps = rng.poisson(rate * share, len(TIMES)) * while_baking
                found.add(f'{tries}"{outcome}"}}', counted(steps.astype(float)), there)
        found.add(f'nginx_answers_total{{job="mtail",pod="{nginx}",status_class="2xx"}}', counted(50.0 * there), there)
        found.add(f'up{{job="mtail",pod="{nginx}"}}', np.ones(len(TIMES)), there)
    return found


def counted(steps: npt.NDArray[Any], restarts: Sequence[int] = ()) -> Floats:
    """A counter that begins at 0 with its pod, and at 0 again in each of the seconds `restarts`."""
    total = np.cumsum(steps)
    before = np.zeros(len(TIMES))
    for anew in restarts:
        before[anew <= TIMES] = total[anew > TIMES][-1]
    return total - before


@contextmanager
def service_with(prometheus_url: str, **settings: float) -> Iterator[str]:
    """The URL of the service, with these settings of the bake in minutes, until the end of the block."""
    (port,) = reserve()
    url = f"http://127.0.0.1:{port}"
    given = {f"CANARY_{name.upper()}": f"{value:g}" for name, value in settings.items()}
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PROMETHEUS_URL": prometheus_url, **given}
    command = ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--no-control-socket"]
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *command, "auto_deployment.release.verdict_service:main()"], env=environment, cwd="/"
    ) as process:
        try:
            wait_until(lambda: asked(f"{url}/healthz")[0] == 200, 30)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def asked(url: str, **query: object) -> tuple[int, dict[str, Any]]:
    """The status and the JSON of an answer; status 0 where nothing answers."""
    try:
        with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=45) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def measures_of(answer: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """An answer's measures by name."""
    return {each["name"]: each for each in answer["measures"]}


@pytest.fixture
def began() -> float:
    """A bake that has just ended."""
    return float(int(time.time()) - MINUTES * 60 - 30)


def test_a_good_version_passes_until_prometheus_is_away(tmp_path: Path, began: float) -> None:
    """With the begin that is given, and with the one that Prometheus knows; each value is that of its query. Then 503."""
    with prometheus_with(tmp_path, history_of(began).lines) as prometheus:
        with service_with(prometheus, bake_minutes=MINUTES - 1) as url:
            status, given = asked(f"{url}/verdict", version=7, since=began)
            assert (status, given["verdict"], given["reasons"]) == (200, "pass", [])
            assert given["minutes"] == pytest.approx(MINUTES, abs=2)
            status, found = asked(f"{url}/verdict", version="host.example:5000/movierec-app:model-7", since="")
            assert (status, found["verdict"], found["version"]) == (200, "pass", "7")
            assert found["minutes"] == pytest.approx(given["minutes"], abs=0.6)
            for name, measure in measures_of(given).items():
                assert pasted(prometheus, measure["query"]) == pytest.approx(measure["value"], rel=0.01, abs=1e-9), name
            assert measures_of(given)["restarts"]["value"] == 0
            status, absent = asked(f"{url}/verdict", version=8)
            assert (status, absent) == (503, {"error": "no pod of the canary with version 8 is scraped: keep baking"})
            assert asked(f"{url}/verdict", version="eight")[0] == 400
        with service_with(prometheus, bake_minutes=MINUTES + 10) as url:
            _, baking = asked(f"{url}/verdict", version=7, since=began)
            assert (baking["verdict"], baking["minutes_left"]) == ("baking", pytest.approx(10, abs=2))
    with service_with(prometheus, bake_minutes=MINUTES + 10) as url:
        status, away = asked(f"{url}/verdict", version=7, since=began)
        assert (status, away["error"]) == (503, "Prometheus cannot be reached: keep baking")
        assert asked(f"{url}/verdict", version=7)[0] == 503
    with service_with(prometheus, bake_minutes=MINUTES - 2, max_bake_minutes=MINUTES - 1) as url:
        assert asked(f"{url}/verdict", version=7, since=began)[1]["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("fault", "measure"), [({"errors": 0.2}, "errors"), ({"canaries": RESTARTED}, "restarts")], ids=["errors", "restart"]
)
def test_a_bad_version_fails(tmp_path: Path, began: float, fault: Mapping[str, Any], measure: str) -> None:
    """Long before its bake would end, by the measure of its fault."""
    with prometheus_with(tmp_path, history_of(began, **fault).lines) as prometheus, service_with(prometheus) as url:
        status, answer = asked(f"{url}/verdict", version=7, since=began)
        assert (status, answer["verdict"], answer["minutes_left"]) == (200, "fail", 0)
        assert [name for name, each in measures_of(answer).items() if each["outcome"] == "worse"] == [measure]
        worse = measures_of(answer)[measure]
        assert pasted(prometheus, worse["query"]) == pytest.approx(worse["value"], rel=0.01)


@pytest.mark.parametrize(("last", "inherited"), [(20, "baking"), (100, "fail")])
def test_failed_tries_of_a_superseded_canary_are_not_those_of_the_next_one(
    tmp_path: Path, began: float, last: int, inherited: str
) -> None:
    """Tries have no version: the bake begins when none can go to the other canary. From the first sample they would count."""
    canaries = (Pod("c-1", "canary", BEFORE, last, 5), Pod("c-2", "canary", 0, AFTER, 7))
    history = history_of(began, errors=np.where(last >= TIMES, 0.9, 0.001), canaries=canaries)
    with prometheus_with(tmp_path, history.lines, lookback="10s") as url:
        prometheus, limits = Prometheus(url), Limits(bake_minutes=MINUTES - 4)
        for second in (last, last + DNS_SECONDS - 1):
            with pytest.raises(NoVerdictError, match="another canary than version 7 may still get tries"):
                read_bake(prometheus, Query("7"), limits, began + second)
        evidence, found = read_bake(prometheus, Query("7"), limits, began + MINUTES * 60)
        assert last + DNS_SECONDS <= evidence.began - began <= last + DNS_SECONDS + BEGIN_STEP
        assert (found.decision, found.reasons) == (Decision.PASS, [])
        ours, others = (judge(prometheus, Query("7", since), limits, began + 240) for since in (None, began))
        assert (ours["verdict"], others["verdict"]) == ("baking", inherited)
        own, all_tries = (measures_of(each)["errors"] for each in (ours, others))
        assert own["value"] < 0.01
        assert own["evidence"] <= 1
        assert all_tries["evidence"] > 10


def crash_loop(end: int) -> Pod:
    """A container that lives for 20 s, and is started again later each time, as the kubelet does: 10 s, 20 s, up to 300 s."""
    down: list[tuple[int, int]] = []
    crash, pause = 20, 10
    while crash < end:
        down.append((crash, crash + pause))
        crash, pause = crash + pause + 20, min(2 * pause, 300)
    return Pod("c-1", "canary", 0, end, 7, tuple(anew for _, anew in down if anew <= AFTER), tuple(down))


def test_a_canary_that_crashes_again_and_again_is_judged(tmp_path: Path, began: float) -> None:
    """One bake holds all crashes: it is never without an answer, and fails, or ends at the longest bake."""
    began -= began % BEGIN_STEP
    with prometheus_with(tmp_path, history_of(began, canaries=[crash_loop(AFTER)]).lines, lookback="10s") as url:
        prometheus = Prometheus(url)
        answers = [judge(prometheus, Query("7"), Limits(), began + second) for second in range(30, MINUTES * 30, 30)]
        assert len({each["since"] for each in answers}) == 1
        verdicts = [each["verdict"] for each in answers]
        failed = verdicts.index("fail")
        assert verdicts == ["baking"] * failed + ["fail"] * (len(verdicts) - failed)
        assert failed < len(verdicts) / 2
        assert measures_of(answers[-1])["restarts"]["outcome"] == "worse"
        longest = Limits(bake_minutes=2, max_bake_minutes=3)
        assert judge(prometheus, Query("7"), longest, began + 240)["verdict"] == "inconclusive"


def test_a_prometheus_that_was_away_begins_no_other_bake(tmp_path: Path, began: float) -> None:
    """For five minutes it has no sample of any pod."""
    lines = history_of(began, canaries=[Pod("c-1", "canary", 0, AFTER, 7)]).lines
    known = [line for line in lines if not 600 < float(line.rpartition(" ")[2]) - began < 900]
    with prometheus_with(tmp_path, known, lookback="10s") as url:
        evidence, _ = read_bake(Prometheus(url), Query("7"), Limits(), began + MINUTES * 60)
    assert 0 <= evidence.began - began <= BEGIN_STEP


def test_a_retry_after_a_crash_loop_begins_anew(tmp_path: Path, began: float) -> None:
    """An abort deletes the pod, so its crashes are no evidence of the next one."""
    again = 1000
    canaries = [crash_loop(again - 100), Pod("c-2", "canary", again, AFTER, 7)]
    with prometheus_with(tmp_path, history_of(began, canaries=canaries).lines, lookback="10s") as url:
        prometheus = Prometheus(url)
        with pytest.raises(NoVerdictError, match="no pod of the canary with version 7 is scraped"):
            read_bake(prometheus, Query("7"), Limits(), began + again - 15)
        evidence, found = read_bake(prometheus, Query("7"), Limits(), began + MINUTES * 60)
        assert abs(evidence.began - began - again) <= BEGIN_STEP
        assert found.decision == Decision.BAKING
        assert {each.name: each.value for each in found.readings}["restarts"] == 0


def test_the_image_answers_behind_the_walls_of_a_pod() -> None:
    """Read-only, without rights and network: it is healthy, refuses what is wrong, and keeps baking without Prometheus."""
    image = "movierec-verdict:test"
    docker("build", "--quiet", "--file", str(ROOT / "kubernetes" / "verdict" / "Dockerfile"), "--tag", image, str(ROOT))
    walls = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none", "--memory", "768m"]
    container = docker("run", "--detach", "--rm", *walls, "--env", "PROMETHEUS_URL=http://127.0.0.1:9", image).stdout.strip()
    try:
        wait_until(lambda: _status_in(container, "healthz") == "200", 30)
        assert _status_in(container, "verdict?version=seven") == "400"
        assert _status_in(container, "verdict?version=7") == "503"
    finally:
        docker("rm", "--force", container, check=False)
        docker("rmi", "--force", image, check=False)


def _status_in(container: str, path: str) -> str:
    """The status of an answer, asked for inside the container; empty where nothing answers yet."""
    code = (
        "import http.client; connection = http.client.HTTPConnection('127.0.0.1', 8084, timeout=20); "
        f"connection.request('GET', '/{path}'); print(connection.getresponse().status)"
    )
    return docker("exec", container, "python", "-c", code, check=False).stdout.strip()
