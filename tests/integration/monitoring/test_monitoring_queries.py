from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.metrics import SECONDS
from auto_deployment.common.prometheus import Prometheus
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.analysis.evidence import Evidence
from auto_deployment.release.analysis.readings import Outcome
from auto_deployment.release.analysis.scrape import read_evidence
from auto_deployment.release.analysis.verdict import Decision, verdict
from tests.integration.monitoring.tools import prometheus_with
from tests.unit.auto_deployment.release.analysis.scrapes import through_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from auto_deployment.release.analysis.verdict import Verdict

    Floats = npt.NDArray[np.float64]

pytestmark = pytest.mark.slow

MINUTES, SCRAPE = 90, 5
STEP = 60.0
# Ten minutes before the bake, and two after it, in which the counters go on.
TIMES = np.arange(-600, MINUTES * 60 + 121, SCRAPE)
RULE = 'url_rule="/recommend/<user>",path="/recommend/<user>",method="GET",status="200"'
WITHIN = 0.01


class History:
    """What Prometheus has scraped: lines of OpenMetrics text, from arrays of one value a scrape."""

    def __init__(self, began: float, times: Floats | npt.NDArray[np.int64] = TIMES) -> None:
        self.lines: list[str] = []
        self._times = [f"{began + at:.3f}" for at in times]

    def add(self, series: str, values: Floats, known: npt.NDArray[np.bool_] | None = None) -> None:
        """One more series, at the scrapes at which it is known."""
        there = np.ones(len(self._times), dtype=bool) if known is None else known
        pairs = zip(self._times, values.tolist(), there.tolist(), strict=True)
        self.lines += [f"{series} {value!r} {at}" for at, value, seen in pairs if seen]


def counted(steps: Floats, anew: int | None = None) -> Floats:
    """A counter of these steps that stands at 1,000 as the history begins, and at 0 in the second `anew` of the bake."""
    total = 1000.0 + np.cumsum(steps)
    return total if anew is None else np.where(anew <= TIMES, total - total[anew > TIMES][-1], total)


def history_of(began: float, crashes: Mapping[str, int], mtail_anew: int | None = None) -> History:
    """A bake from `began` on. Of `crashes` each service is started anew in that second, after losing a worker."""
    rng, found = np.random.default_rng(1), History(began)
    answers = np.zeros(len(TIMES))
    for name, rate in (("canary", 8.0), ("stable-1", 16.0), ("stable-2", 16.0)):
        anew = crashes.get(name)
        labels = f'job="service",service="{name}",track="any",version="{7 if name == "canary" else 6}"'
        counts = rng.poisson(rate, len(TIMES)).astype(float)
        seconds = counts * rng.gamma(20.0, 0.000125 * (1.1 if name == "canary" else 1.0), len(TIMES))
        above = 0.98 * np.exp(-np.array(SECONDS) / 0.0005) + 0.02 * np.exp(-np.array(SECONDS) / 0.01)
        left = -np.diff([1.0, *above, 0.0])
        buckets = rng.multinomial(counts.astype(int), left).astype(float)
        for number, edge in enumerate([*map(repr, SECONDS), "+Inf"]):
            below = buckets[:, : number + 1].sum(axis=1)
            found.add(f'flask_http_request_duration_seconds_bucket{{{labels},{RULE},le="{edge}"}}', counted(below, anew))
        found.add(f"flask_http_request_duration_seconds_count{{{labels},{RULE}}}", counted(counts, anew))
        found.add(f"flask_http_request_duration_seconds_sum{{{labels},{RULE}}}", counted(seconds, anew))
        started = np.full(len(TIMES), began - 900.0) if anew is None else np.where(anew <= TIMES, began + anew, began - 900.0)
        found.add(f"service_start_time_seconds{{{labels}}}", started)
        lost = np.zeros(len(TIMES)) if anew is None else (anew - 300 <= TIMES) & (anew > TIMES)
        found.add(f"service_worker_exits_total{{{labels}}}", lost.astype(float))
        found.add(f'up{{job="service",service="{name}"}}', np.ones(len(TIMES)))
        failed = rng.poisson(0.02, len(TIMES)).astype(float)
        tries = f'nginx_tries_total{{job="mtail",service="{name}",outcome='
        found.add(f'{tries}"2xx"}}', counted(counts, mtail_anew))
        found.add(f'{tries}"5xx"}}', counted(failed, mtail_anew))
        found.add(f'{tries}"cut"}}', counted(rng.poisson(0.5, len(TIMES)).astype(float), mtail_anew))
        late = TIMES >= 2000  # a series that is new within the bake begins with its first event
        found.add(f'{tries}"timeout"}}', 1.0 + np.cumsum(rng.poisson(0.02, len(TIMES)) * (TIMES > 2000.0)).astype(float), late)
        answers += counts
        container = f'job="cadvisor",project="movierec",service="{name}",id="/docker/{name}"'
        found.add(f"container_memory_rss{{{container}}}", rng.uniform(1e8, 1.01e8, len(TIMES)))
        found.add(f"container_start_time_seconds{{{container}}}", started)
    found.add('up{job="mtail"}', np.ones(len(TIMES)))
    others = {
        outcome: rng.poisson(rate, len(TIMES)).astype(float) for outcome, rate in (("4xx", 0.5), ("5xx", 0.1), ("499", 0.3))
    }
    for outcome, steps in {"2xx": answers, **others}.items():
        found.add(f'nginx_answers_total{{job="mtail",status_class="{outcome}"}}', counted(steps, mtail_anew))
    return found


@pytest.fixture(params=["undisturbed", "restarts"])
def judged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Verdict, str]]:
    """A verdict of what a real Prometheus holds, and the server's address."""
    began = float(int(time.time()) - MINUTES * 60 - 1800) + 0.25
    crashes, mtail_anew = ({"stable-1": 1501, "canary": 3001}, 4003) if request.param == "restarts" else ({}, None)
    with prometheus_with(tmp_path, history_of(began, crashes, mtail_anew).lines) as url:
        end = began + MINUTES * STEP
        half = read_evidence(Prometheus(url), Evidence("7", began), began + MINUTES / 2 * STEP, STEP)
        evidence = read_evidence(Prometheus(url), through_json(half), end, STEP)
        yield verdict(evidence, Limits(bake_minutes=MINUTES), MINUTES), url


def pasted(url: str, query: str) -> float:
    """The one value that an instant query has now."""
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=30) as answer:
        parsed = json.load(answer)
    (only,) = parsed["data"]["result"]
    return float(only["value"][1])


def test_each_reported_value_comes_with_the_query_that_gives_it(judged: tuple[Verdict, str]) -> None:
    """Within 1 %, put to a real Prometheus half an hour after the bake: also where services and mtail were started anew."""
    found, url = judged
    assert {each.name for each in found.readings} == {
        *("mean", "slowdown", "slow answers", "errors", "client", "restarts", "worker exits", "memory")
    }
    values = {}
    for each in found.readings:
        assert each.value is not None, each.message
        values[each.name] = pasted(url, each.query)
        assert values[each.name] == pytest.approx(each.value, rel=WITHIN, abs=1e-9), f"{each.name}: {each.query}"
    assert values["mean"] > 0.001
    assert values["slow answers"] > 0
    assert values["errors"] != 0
    assert 0.9 < values["client"] < 1
    crashed = {each.name for each in found.readings if each.outcome == Outcome.WORSE}
    assert {values["restarts"], values["worker exits"]} == {1.0 if crashed else 0.0}
    assert crashed in (set(), {"restarts", "worker exits"})
    assert found.decision == (Decision.FAIL if crashed else Decision.PASS)


def test_the_query_of_the_mean_is_sum_over_count_with_labels_and_window(judged: tuple[Verdict, str]) -> None:
    """As everybody writes it, with the canary's labels and the two ends of the bake."""
    found, _ = judged
    query = next(each.query for each in found.readings if each.name == "mean")
    for part in ("sum(flask_http_request_duration_seconds_sum{", "sum(flask_http_request_duration_seconds_count{"):
        assert part in query
    assert 'service="canary", version="7"' in query
    assert query.count(" @ ") >= 4
