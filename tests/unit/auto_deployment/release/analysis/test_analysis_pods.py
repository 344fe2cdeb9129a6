"""The evidence of anonymous pods, in any number, that come and go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auto_deployment.common.prometheus import Series
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.analysis.evidence import Evidence, MissingData, spans
from auto_deployment.release.analysis.queries import PODS
from auto_deployment.release.analysis.readings import Outcome, Reading
from auto_deployment.release.analysis.scrape import read_evidence
from auto_deployment.release.analysis.verdict import Decision, Verdict, verdict
from tests.bench.releases import EDGES, FAULTS, HEALTHY, Fault, simulate
from tests.unit.auto_deployment.release.analysis.scrapes import (
    BEGAN,
    STEP,
    VERSION,
    Life,
    Scrapes,
    pods_of,
    scrapes_of,
    through_json,
    timed,
)

MINUTES = 40
LIMITS = Limits(bake_minutes=MINUTES, max_bake_minutes=2 * MINUTES)
# Every pod but one is replaced while the version bakes, the canary's too, and so is NGINX's.
SERVICES = (
    *(Life("c-1", "canary", last=20), Life("c-2", "canary", 20)),
    *(Life("s-1", "stable-1", last=13), Life("s-2", "stable-1", 13, 27), Life("s-3", "stable-1", 27), Life("s-4", "stable-2")),
)
NGINX = (Life("n-1", "nginx", last=25), Life("n-2", "nginx", 25))


def traffic(fault: Fault = HEALTHY, rate: float = 20.0) -> Scrapes:
    """A simulated bake of three named services."""
    return scrapes_of(simulate(fault, rate, 1, np.random.default_rng(1), MINUTES), EDGES)


def pods(scrapes: Scrapes) -> Scrapes:
    """The same traffic, by pods."""
    return pods_of(scrapes, SERVICES, NGINX)


def seen(scrapes: Scrapes, *, minutes: int = MINUTES) -> Evidence:
    """What Prometheus has of the pods, read in two parts as a controller does."""
    half = read_evidence(scrapes, Evidence(VERSION, BEGAN, baseline=("stable",)), BEGAN + minutes // 2 * STEP, STEP, PODS)
    return read_evidence(scrapes, through_json(half), BEGAN + minutes * STEP, STEP, PODS)


def outcomes(judged: Verdict) -> dict[str, Outcome]:
    """Each measure's outcome."""
    return {each.name: each.outcome for each in judged.readings}


def numbers(reading: Reading) -> list[float]:
    """A reading's numbers, without those that it does not have."""
    return [each for each in (reading.value, reading.threshold, reading.evidence) if each is not None]


@pytest.mark.parametrize("fault", ["healthy", "mean +20 %", "mean x5", "p99 x5", "errors 1 %", "errors 20 %"])
@pytest.mark.parametrize("minutes", [8, MINUTES])
def test_the_same_traffic_has_the_same_verdict_by_services_and_by_pods_that_come_and_go(fault: str, minutes: int) -> None:
    """With the same values, samples and evidence in each measure."""
    scrapes = traffic({"healthy": HEALTHY, **FAULTS}[fault])
    named = verdict(read_evidence(scrapes, Evidence(VERSION, BEGAN), BEGAN + minutes * STEP, STEP), LIMITS, minutes)
    found = verdict(seen(pods(scrapes), minutes=minutes), LIMITS, minutes)
    assert (found.decision, outcomes(found)) == (named.decision, outcomes(named))
    for own, other in zip(found.readings, named.readings, strict=True):
        assert numbers(own) == pytest.approx(numbers(other), rel=1e-6)
        assert (own.sample, own.required) == (other.sample, other.required)


def test_pods_that_start_and_end_are_neither_a_reset_nor_a_crash() -> None:
    """No counter falls into another pod's, and no restart is counted."""
    evidence = seen(pods(traffic()))
    judged = verdict(evidence, LIMITS, MINUTES)
    assert (judged.decision, outcomes(judged)["restarts"]) == (Decision.PASS, Outcome.WITHIN)
    assert {
        value
        for each in evidence.observations
        for pod in each.services.values()
        for key, value in pod.items()
        if key == "restarts"
    } == {0.0}
    assert min(value for each in evidence.observations for pod in each.services.values() for value in pod.values()) >= 0.0
    assert {each.missing == {} for each in evidence.observations} == {True}


def test_a_pods_counters_have_spans_of_its_own_life() -> None:
    """So that each reported query names the pod, from its first observation to its last one."""
    evidence = seen(pods(traffic()))
    (span,) = spans(evidence, "stable/s-2 service", range(MINUTES))
    assert span == (BEGAN + 13 * STEP, BEGAN + 27 * STEP)
    mean = next(each.query for each in verdict(evidence, LIMITS, MINUTES).readings if each.name == "mean")
    assert 'track="canary", pod="c-1", version="7"' in mean
    assert 'track="canary", pod="c-2", version="7"' in mean


def restarted(scrapes: Scrapes, *names: str, minute: int = 30) -> Scrapes:
    """The pods whose container was started anew in a minute: their counters begin at 0, their start is later."""
    begin = BEGAN + minute * STEP
    for query in ("service started", "service seconds", "service le {le}"):
        for number, each in enumerate(scrapes.series[query]):
            if each.labels["pod"] in names:
                before = 0.0 if query == "service started" else each.values[begin - STEP]
                values = {
                    at: begin - 5.0 if query == "service started" else value - before
                    for at, value in each.values.items()
                    if at >= begin
                }
                scrapes.series[query][number] = Series(each.labels, dict(each.values) | values)
    return scrapes


def test_a_container_of_the_canary_that_is_started_anew_is_a_crash() -> None:
    """Its pod stays, its start is later."""
    judged = verdict(seen(restarted(pods(traffic()), "c-2")), LIMITS, MINUTES)
    assert (judged.decision, judged.reasons) == (Decision.FAIL, ["1 restarts, limit 0"])


def test_a_start_of_everybody_is_nobodys_crash_whichever_pods_ended_before() -> None:
    """Of the stable pods only those count that were there. Where one of them kept running, it is a crash."""
    every = verdict(seen(restarted(pods(traffic()), "c-2", "s-3", "s-4")), LIMITS, MINUTES)
    assert (every.decision, outcomes(every)["restarts"]) == (Decision.PASS, Outcome.WITHIN)
    some = verdict(seen(restarted(pods(traffic()), "c-2", "s-3")), LIMITS, MINUTES)
    assert some.reasons == ["1 restarts, limit 0"]


def without(scrapes: Scrapes, pod: str, after: int) -> Scrapes:
    """The pod is not scraped after a minute: its series end, and `up` is 0."""
    for query, series in scrapes.series.items():
        for number, each in enumerate(series):
            if query.startswith("service") and each.labels["pod"] == pod:
                values = {at: value for at, value in each.values.items() if at <= BEGAN + after * STEP}
                away = {at: 0.0 for at in each.values if at > BEGAN + after * STEP}
                series[number] = replace(each, values=values | away if query == "service up" else values)
    return scrapes


def test_a_pod_of_the_canary_that_is_not_scraped_delays_the_verdict() -> None:
    """Whatever it serves is not known; a stable pod's share is no loss."""
    away = seen(without(pods(traffic()), "c-2", 38))
    assert away.observations[-1].missing == {
        "canary/c-2 service": MissingData.NO_DATA,
        "canary cadvisor": MissingData.EMPTY,
    }
    judged = verdict(away, LIMITS, MINUTES)
    assert (judged.decision, outcomes(judged)["mean"]) == (Decision.BAKING, Outcome.NO_DATA)
    assert "mean: no metrics, the target is not scraped (no data)" in judged.reasons
    assert verdict(away, LIMITS, 2 * MINUTES).decision == Decision.INCONCLUSIVE
    stable = seen(without(pods(traffic()), "s-4", 38))
    assert stable.observations[-1].missing == {}
    assert verdict(stable, LIMITS, MINUTES).decision == Decision.PASS


def test_a_canary_that_is_nowhere_is_no_success() -> None:
    """As a rollout shows before its first pod is ready: nothing is known of the canary."""
    nowhere = pods_of(traffic(), SERVICES[2:], NGINX)
    evidence = seen(nowhere)
    assert evidence.observations[-1].missing["canary service"] == MissingData.EMPTY
    judged = verdict(evidence, LIMITS, MINUTES)
    assert (judged.decision, outcomes(judged)["slowdown"]) == (Decision.BAKING, Outcome.NO_DATA)


def promoted(scrapes: Scrapes, pod: str, minute: int) -> Scrapes:
    """The pod of version 6 is a canary until a minute. It keeps its counters when it becomes stable."""
    begin = BEGAN + minute * STEP
    for series in scrapes.series.values():
        for each in [each for each in series if each.labels.get("pod") == pod and "track" in each.labels]:
            before = {at: value for at, value in each.values.items() if at < begin}
            series.remove(each)
            series.append(Series({**each.labels, "track": "canary"}, before))
            series.append(Series(each.labels, {at: value for at, value in each.values.items() if at >= begin}))
    return scrapes


def test_a_pod_that_becomes_stable_is_evidence_from_then_on() -> None:
    """As when the version before is promoted while this one starts: no answer counts twice, and none is this canary's."""
    minute = 10
    whole, evidence = seen(pods(traffic())), seen(promoted(pods(traffic()), "s-4", minute))
    of_pod = [each.services.get("stable/s-4") for each in evidence.observations]
    assert of_pod[: minute - 1] == [None] * (minute - 1)
    assert {value for key, value in (of_pod[minute - 1] or {}).items() if key != "memory"} == {0.0}
    assert of_pod[minute:] == [each.services["stable/s-4"] for each in whole.observations[minute:]]
    assert {name for each in evidence.observations for name in each.services if name.endswith("/s-4")} == {"stable/s-4"}
    judged = verdict(evidence, LIMITS, MINUTES)
    assert (judged.decision, outcomes(judged)) == (Decision.PASS, outcomes(verdict(whole, LIMITS, MINUTES)))


def test_another_version_of_the_canary_is_left_out() -> None:
    """Its pods may still end when the next version's begin."""
    scrapes = pods(traffic())
    scrapes.add("service seconds", timed(np.arange(MINUTES + 1.0) * 1e6), track="canary", pod="c-0", version="5")
    assert all("canary/c-0" not in each.services for each in seen(scrapes).observations)


def test_series_that_name_no_pod_are_no_evidence() -> None:
    """A sum of several pods falls when one of them ends. So a Prometheus without the label gives no verdict."""
    scrapes = pods(traffic())
    for series in scrapes.series.values():
        series[:] = [replace(each, labels={key: each.labels[key] for key in each.labels if key != "pod"}) for each in series]
    evidence = seen(scrapes)
    assert evidence.observations[-1].services == {}
    assert {*evidence.observations[-1].missing.values()} == {MissingData.EMPTY}
    assert verdict(evidence, LIMITS, MINUTES).decision == Decision.BAKING


def test_memory_is_that_of_the_largest_pod() -> None:
    """One pod of the canary with twice the largest stable pod's, in each of the last observations."""
    scrapes = pods(traffic())
    memory = scrapes.series["cadvisor memory"]
    for number, each in enumerate(memory):
        if each.labels["pod"] == "c-2":
            memory[number] = replace(each, values={at: 2.1 * value for at, value in each.values.items()})
    judged = verdict(seen(scrapes), LIMITS, MINUTES)
    reading = next(each for each in judged.readings if each.name == "memory")
    assert (judged.decision, reading.outcome, reading.value) == (Decision.FAIL, Outcome.WORSE, 2.1e8)
    assert 'pod=~"c-1|c-2"' in reading.query


def test_memory_that_nobody_measures_delays_nothing() -> None:
    """A cluster may give no access to its nodes' metrics."""
    scrapes = pods(traffic())
    scrapes.series["cadvisor memory"].clear()
    judged = verdict(seen(scrapes), LIMITS, MINUTES)
    assert (judged.decision, outcomes(judged)["memory"]) == (Decision.PASS, Outcome.NO_DATA)
