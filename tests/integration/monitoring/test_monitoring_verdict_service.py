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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.metrics import SECONDS
from scripts.ports import reserve
from tests.integration.conftest import wait_until
from tests.integration.monitoring.test_monitoring_queries import RULE, SCRAPE, History, pasted
from tests.integration.monitoring.tools import docker, prometheus_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
MINUTES = 30
# Five minutes before the bake; the pods of stable are there first.
TIMES = np.arange(-300, MINUTES * 60 + 61, SCRAPE)
BEFORE, AFTER = int(TIMES[0]), int(TIMES[-1])
# Pod, track, and the seconds of the bake in which it serves. A pod and its successor share one scrape.
PODS = (
    *(("c-1", "canary", 0, 700), ("c-2", "canary", 700, AFTER)),
    *(("s-1", "stable", BEFORE, 900), ("s-2", "stable", 900, AFTER), ("s-3", "stable", BEFORE, AFTER)),
)
NGINX = (("n-1", BEFORE, 1200), ("n-2", 1200, AFTER))


def history_of(began: float, *, errors: float = 0.001, restart: int | None = None) -> History:
    """A bake of version 7 from `began` on. The canary's tries fail by `errors`; its second pod restarts in that second."""
    rng, found = np.random.default_rng(1), History(began, TIMES)
    for pod, track, begin, end in PODS:
        there = (begin <= TIMES) & (end >= TIMES)
        anew = restart if pod == "c-2" else None
        labels = f'job="service",pod="{pod}",track="{track}",version="{7 if track == "canary" else 6}"'
        counts = np.where(there, rng.poisson(20.0, len(TIMES)), 0).astype(float)
        above: Floats = 0.98 * np.exp(-np.array(SECONDS) / 0.002) + 0.02 * np.exp(-np.array(SECONDS) / 0.01)
        buckets = rng.multinomial(counts.astype(int), -np.diff([1.0, *above, 0.0])).astype(float)
        for number, edge in enumerate([*map(repr, SECONDS), "+Inf"]):
            below = counted(buckets[:, : number + 1].sum(axis=1), anew)
            found.add(f'flask_http_request_duration_seconds_bucket{{{labels},{RULE},le="{edge}"}}', below, there)
        seconds = counts * rng.gamma(20.0, 0.0001, len(TIMES))
        found.add(f"flask_http_request_duration_seconds_count{{{labels},{RULE}}}", counted(counts, anew), there)
        found.add(f"flask_http_request_duration_seconds_sum{{{labels},{RULE}}}", counted(seconds, anew), there)
        started = np.where(TIMES >= AFTER + 1 if anew is None else anew <= TIMES, began + (anew or 0), began + begin - 5.0)
        found.add(f"service_start_time_seconds{{{labels}}}", started, there)
        found.add(f"service_worker_exits_total{{{labels}}}", np.zeros(len(TIMES)), there)
        found.add(f'up{{job="service",pod="{pod}"}}', np.ones(len(TIMES)), there)
        memory = f'container_memory_rss{{job="cadvisor",namespace="movierec",pod="{pod}",container='
        for container, size in (("service", 8e7), ("shipper", 2e7)):
            found.add(f'{memory}"{container}"}}', rng.uniform(size, 1.01 * size, len(TIMES)), there)
    for pod, begin, end in NGINX:
        there = (begin <= TIMES) & (end >= TIMES)
        for track, rate, failing in (("canary", 10.0, errors), ("stable", 40.0, 0.001)):
            tries = f'nginx_tries_total{{job="mtail",pod="{pod}",track="{track}",outcome='
            while_baking = there & ((TIMES >= 0) | (track == "stable"))
            for outcome, share in (("2xx", 1 - failing), ("5xx", failing)):
                steps = rng.poisson(rate * share, len(TIMES)) * while_baking
                found.add(f'{tries}"{outcome}"}}', counted(steps.astype(float)), there)
        found.add(f'nginx_answers_total{{job="mtail",pod="{pod}",status_class="2xx"}}', counted(50.0 * there), there)
        found.add(f'up{{job="mtail",pod="{pod}"}}', np.ones(len(TIMES)), there)
    return found


def counted(steps: npt.NDArray[Any], anew: int | None = None) -> Floats:
    """A counter that begins at 0 with its pod, and at 0 again in the second `anew`."""
    total = np.cumsum(steps)
    return total if anew is None else np.where(anew <= TIMES, total - total[anew > TIMES][-1], total)


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
    ("fault", "measure"), [({"errors": 0.2}, "errors"), ({"restart": 1300}, "restarts")], ids=["errors", "restart"]
)
def test_a_bad_version_fails(tmp_path: Path, began: float, fault: Mapping[str, Any], measure: str) -> None:
    """Long before its bake would end, by the measure of its fault."""
    with prometheus_with(tmp_path, history_of(began, **fault).lines) as prometheus, service_with(prometheus) as url:
        status, answer = asked(f"{url}/verdict", version=7, since=began)
        assert (status, answer["verdict"], answer["minutes_left"]) == (200, "fail", 0)
        assert [name for name, each in measures_of(answer).items() if each["outcome"] == "worse"] == [measure]
        worse = measures_of(answer)[measure]
        assert pasted(prometheus, worse["query"]) == pytest.approx(worse["value"], rel=0.01)


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
