"""The verdict as a service, over a Prometheus of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from auto_deployment.common.prometheus import QueryError, Series, UnreachableError
from auto_deployment.common.settings import CanarySettings
from auto_deployment.common.time_format import to_iso
from auto_deployment.release import verdict_service
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.analysis.verdict import Decision
from auto_deployment.release.verdict_service import (
    DNS_SECONDS,
    BadParameterError,
    NoVerdictError,
    Query,
    WithinTime,
    begin_of_bake,
    begin_queries,
    create_service,
)
from tests.bench.releases import EDGES, FAULTS, HEALTHY, Fault, simulate
from tests.unit.auto_deployment.release.analysis.scrapes import BEGAN, STEP, Life, Scrapes, pods_of, scrapes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from werkzeug.test import TestResponse

ROOT = Path(__file__).resolve().parents[4]
MINUTES = 40
LIMITS = Limits(bake_minutes=MINUTES, max_bake_minutes=2 * MINUTES)
SERVICES = (Life("c-1", "canary", last=20), Life("c-2", "canary", 20), Life("s-1", "stable-1"), Life("s-2", "stable-2"))


def scrapes_with(fault: Fault = HEALTHY, rate: float = 20.0, minutes: int = 2 * MINUTES) -> Scrapes:
    """A simulated bake by pods."""
    simulated = simulate(fault, rate, 1, np.random.default_rng(1), minutes)
    return pods_of(scrapes_of(simulated, EDGES), SERVICES, [Life("n-1", "nginx")])


def ask(scrapes: Scrapes, minutes: float) -> TestResponse:
    """The answer some minutes after the bake's begin."""
    service = create_service(lambda: scrapes, LIMITS, lambda: BEGAN + minutes * STEP)
    return service.test_client().get(f"/verdict?version=7&since={BEGAN}")


def test_a_good_version_bakes_and_passes() -> None:
    """With the wait that is left, and each measure's value, limit, sample and evidence."""
    scrapes = scrapes_with()
    early, late = ask(scrapes, 10).get_json(), ask(scrapes, MINUTES).get_json()
    assert (early["verdict"], early["minutes"], early["minutes_left"]) == ("baking", 10, 30)
    assert (late["verdict"], late["minutes"], late["minutes_left"], late["reasons"]) == ("pass", MINUTES, 0, [])
    assert (late["version"], late["since"]) == ("7", to_iso(BEGAN))
    measures = {each["name"]: each for each in late["measures"]}
    assert [*measures] == ["mean", "slowdown", "slow answers", "errors", "client", "restarts", "worker exits", "memory"]
    slowdown = measures["slowdown"]
    assert slowdown["value"] < slowdown["limit"] == 1.2
    assert slowdown["evidence"] < slowdown["needed"]
    assert slowdown["sample"] > 500
    assert 'track="canary", pod="c-1", version="7"' in slowdown["query"]


def test_a_bad_version_fails_at_once_and_says_why() -> None:
    """Long before the end of its bake."""
    answer = ask(scrapes_with(FAULTS["errors 20 %"]), 10).get_json()
    assert (answer["verdict"], answer["minutes_left"]) == ("fail", 0)
    assert answer["reasons"][0].startswith("success per try")


def test_thin_evidence_is_inconclusive_at_the_end_of_the_longest_bake() -> None:
    """Until then it bakes; after it the answer stays, however late somebody asks."""
    scrapes = scrapes_with(rate=0.05)
    extended, end, later = (ask(scrapes, minutes).get_json() for minutes in (MINUTES + 1, 2 * MINUTES, 5 * MINUTES))
    assert (extended["verdict"], extended["minutes_left"]) == ("baking", MINUTES - 1)
    assert (end["verdict"], end["minutes_left"]) == ("inconclusive", 0)
    assert later == end


def test_each_call_reads_anew() -> None:
    """Two calls send the same queries, over the whole bake, and give the same answer."""
    scrapes = scrapes_with()
    first = ask(scrapes, 10).get_data()
    queries = len(scrapes.asked)
    assert ask(scrapes, 10).get_data() == first
    assert scrapes.asked[queries:] == scrapes.asked[:queries]
    assert {start for start, _ in scrapes.asked} == {BEGAN}


@pytest.mark.parametrize("failure", [UnreachableError("http://prometheus: away"), QueryError("parse error")])
def test_without_prometheus_there_is_no_verdict_and_the_version_keeps_baking(failure: Exception) -> None:
    """Status 503 with the reason. At the end of the longest bake it is inconclusive: no outage bakes for ever."""
    scrapes = scrapes_with()
    scrapes.failure = failure
    away = ask(scrapes, MINUTES)
    assert away.status_code == 503
    assert away.get_json()["error"].endswith(": keep baking")
    assert "Prometheus" in away.get_json()["error"]
    assert ask(scrapes, 2 * MINUTES).get_json()["verdict"] == "inconclusive"


def test_a_canary_that_is_nowhere_bakes() -> None:
    """Missing data is no success and no failure, until the longest bake ends."""
    nowhere = pods_of(
        scrapes_of(simulate(HEALTHY, 20.0, 1, np.random.default_rng(1), 2 * MINUTES), EDGES),
        SERVICES[2:],
        [Life("n-1", "nginx")],
    )
    answer = ask(nowhere, MINUTES).get_json()
    assert answer["verdict"] == "baking"
    assert "mean: no metrics, no such series (no data)" in answer["reasons"]
    assert ask(nowhere, 2 * MINUTES).get_json()["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "version: '' is no number"),
        ("version=", "version: '' is no number"),
        ("version=seven", "version: 'seven' is no number"),
        ('version=7"} or vector(1)', "version: "),
        ("version=movierec-app:stable", "version: 'movierec-app:stable' is no number"),
        ("version=host/app:model-7@sha256:00", "version: "),
        ("version=7&since=yesterday", "since: 'yesterday' is neither seconds since 1970 nor ISO 8601"),
        ("version=7&since=2026-11-29T07:00:00", "has no time zone"),
        ("version=7&since=999999999999", "is later than now"),
        ("version=7&since=1960-01-01T00:00:00Z", "since: "),
        ("version=7&since=nan", "is neither"),
        ("version=7&sinse=1", "unknown parameter 'sinse'"),
    ],
)
def test_a_wrong_parameter_is_refused_with_the_reason(query: str, reason: str) -> None:
    """Status 400; nothing is asked of Prometheus."""
    scrapes = Scrapes()
    service = create_service(lambda: scrapes, LIMITS, lambda: BEGAN)
    answer = service.test_client().get("/verdict", query_string=query)
    assert answer.status_code == 400
    assert reason in answer.get_json()["error"]
    assert scrapes.asked == []


@pytest.mark.parametrize(
    "text",
    [
        *("7", "007", "model-7", "movierec-app:model-7", "host.example:5000/team/movierec-app:model-7"),
        f"host.example:5000/team/movierec-app:model-7@sha256:{'0a' * 32}",
    ],
)
def test_a_version_may_be_given_by_its_image(text: str) -> None:
    """A rollout knows its image, and the release writes the version into the tag."""
    assert Query.of({"version": text}, BEGAN) == Query("7")


@pytest.mark.parametrize(
    "text", ["1700000000", "1700000000.0", "2023-11-14T22:13:20Z", "2023-11-14T22:13:20+00:00", "2023-11-15T00:13:20+02:00"]
)
def test_a_begin_is_given_in_seconds_or_in_iso_8601(text: str) -> None:
    """A clock that is a little ahead is no error; an empty begin is none."""
    assert Query.of({"version": "7", "since": text}, BEGAN + 60) == Query("7", BEGAN)
    assert Query.of({"version": "7", "since": text}, BEGAN - 30) == Query("7", BEGAN - 30)
    assert Query.of({"version": "7", "since": ""}, BEGAN) == Query("7")


def test_the_analysis_template_takes_each_verdict_as_it_is_meant() -> None:
    """A pass ends the run, a failure and the inconclusive end abort the rollout, and only `baking` is neither."""
    template = (ROOT / "kubernetes" / "movierec" / "templates" / "analysis.yaml").read_text()
    fields = dict(re.findall(r"^ +(\w+): (.+)$", template, re.MULTILINE))
    assert fields["successCondition"] == f'result == "{Decision.PASS}"'
    failures = re.fullmatch(r"result in (\[.*\])", fields["failureCondition"])
    assert failures is not None
    assert {*json.loads(failures[1]), Decision.PASS, Decision.BAKING} == {*Decision}
    assert (fields["consecutiveSuccessLimit"], fields["failureLimit"]) == ("1", "0")
    assert fields["count"] == fields["inconclusiveLimit"], "Argo refuses a step whose analysis has no count"
    assert fields["jsonPath"] == '"{$.verdict}"'


def test_the_analysis_template_has_the_defaults_of_the_settings() -> None:
    """The longest bake and the time between two measurements, where the chart's values name none."""
    template = (ROOT / "kubernetes" / "movierec" / "templates" / "analysis.yaml").read_text()
    defaults = dict(re.findall(r"\$settings\.(\w+) \| default \"(\d+)\"", template))
    fields = {name: CanarySettings.model_fields[name.lower()].default for name in defaults}
    assert {name: float(value) for name, value in defaults.items()} == fields
    assert {*fields} == {"CANARY_MAX_BAKE_MINUTES", "CANARY_CHECK_SECONDS"}


def test_each_answer_is_json_whatever_its_status() -> None:
    """An engine may take other text with status 200 for a success."""
    scrapes = scrapes_with()
    scrapes.failure = RuntimeError("secret")
    service = create_service(lambda: scrapes, LIMITS, lambda: BEGAN + 60)
    client = service.test_client()
    answers = (
        *(client.get("/healthz"), client.get("/elsewhere"), client.post("/verdict?version=7")),
        client.get(f"/verdict?version=7&since={BEGAN}"),
    )
    assert [each.status_code for each in answers] == [200, 404, 405, 500]
    assert all(json.loads(each.get_data()) for each in answers)
    assert "secret" not in answers[-1].get_data(as_text=True)


class Beginnings:
    """A Prometheus that knows when a canary was first there, when it was last absent, and when another one was last there."""

    def __init__(self, *answers: Sequence[float]) -> None:
        self._answers = dict(zip(begin_queries("7", LIMITS), answers, strict=True))

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """One series with one value, or none."""
        assert start == end
        assert step > 0
        return [Series({}, {end: value}) for value in self._answers[query]]


@pytest.mark.parametrize(
    ("first", "without", "other", "begin"),
    [
        ([BEGAN - 900], [BEGAN - 915], [], BEGAN - 900),
        ([BEGAN - 4000], [BEGAN - 600], [], BEGAN - 600),  # taken out, and let in again
        ([BEGAN - 300], [], [], BEGAN - 300),  # Prometheus has lost what was before
        ([BEGAN - 900], [BEGAN - 915], [BEGAN - 880], BEGAN - 880 + DNS_SECONDS),  # it supersedes another canary
        ([BEGAN - 900], [BEGAN - 915], [BEGAN - 2000], BEGAN - 900),  # a canary of long ago
        ([BEGAN - 900], [], [BEGAN - DNS_SECONDS], BEGAN),
    ],
)
def test_the_bake_begins_when_the_canary_is_there_without_a_break_and_alone(
    first: Sequence[float], without: Sequence[float], other: Sequence[float], begin: float
) -> None:
    """Where the caller does not say when."""
    assert begin_of_bake(Beginnings(first, without, other), "7", LIMITS, BEGAN) == begin


@pytest.mark.parametrize(("first", "without"), [([], []), ([], [BEGAN]), ([BEGAN - 900], [BEGAN - 5])])
def test_a_canary_that_is_not_scraped_has_no_begin(first: Sequence[float], without: Sequence[float]) -> None:
    """Nor has it one when it was taken out. The version keeps baking."""
    with pytest.raises(NoVerdictError, match="no pod of the canary with version 7 is scraped"):
        begin_of_bake(Beginnings(first, without, []), "7", LIMITS, BEGAN)


def test_a_canary_that_replaces_another_one_has_no_begin_yet() -> None:
    """While the other one may still get tries."""
    with pytest.raises(NoVerdictError, match="another canary than version 7 may still get tries"):
        begin_of_bake(Beginnings([BEGAN - 60], [BEGAN - 75], [BEGAN - DNS_SECONDS + 1]), "7", LIMITS, BEGAN)


def test_a_begin_is_looked_for_further_back_than_the_longest_bake() -> None:
    """Otherwise it would move with the time, and the bake would never end."""
    for query in begin_queries("7", LIMITS):
        (seconds,) = re.findall(r"\[(\d+)s:\d+s\]\)$", query)
        assert int(seconds) > 60 * LIMITS.max_bake_minutes


def test_a_begin_that_prometheus_cannot_say_is_no_verdict() -> None:
    """Status 503, as with any other query."""
    away = Scrapes(failure=UnreachableError("http://prometheus: Prometheus cannot be reached"))
    answer = create_service(lambda: away, LIMITS, lambda: BEGAN).test_client().get("/verdict?version=7")
    assert (answer.status_code, answer.get_json()["error"]) == (
        503,
        "http://prometheus: Prometheus cannot be reached: keep baking",
    )


def test_all_queries_of_an_answer_share_one_limit_of_time() -> None:
    """A query that comes too late is not sent."""
    with pytest.raises(UnreachableError, match="did not answer all queries within 0 s"):
        WithinTime("http://127.0.0.1:9", 0.0).over("up", BEGAN, BEGAN, STEP)


def test_a_control_character_in_a_parameter_is_shown_escaped() -> None:
    """The reason is one line."""
    with pytest.raises(BadParameterError) as refused:
        Query.of({"version": "7\n8"}, BEGAN)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PROMETHEUS_URL", "ftp://prometheus", "PROMETHEUS_URL: "),
        ("CANARY_WATCHED", "require", "CANARY_WATCHED: must be off here"),
        ("CANARY_MAX_BAKE_MINUTES", "1", "CANARY_MAX_BAKE_MINUTES: is below CANARY_BAKE_MINUTES"),
    ],
)
def test_a_setting_that_cannot_be_kept_ends_the_start(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with Gunicorn's status for an application that cannot be loaded."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        verdict_service.main()
    assert ended.value.code == verdict_service.APP_LOAD_ERROR
    assert capsys.readouterr().err.startswith(reason)


def test_the_settings_of_the_release_are_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same names as on a host."""
    monkeypatch.setenv("CANARY_BAKE_MINUTES", "3")
    assert verdict_service.main().test_client().get("/healthz").get_json() == {"status": "ok"}
