from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auto_deployment.common.prometheus import Series
from auto_deployment.release.analysis.comparison import FALSE_ALARMS, Limits
from auto_deployment.release.analysis.evidence import Evidence, MissingData, Observation
from auto_deployment.release.analysis.measures import MEASURES, MEMORY_OBSERVATIONS
from auto_deployment.release.analysis.queries import CLIENT
from auto_deployment.release.analysis.readings import Measure, Outcome
from auto_deployment.release.analysis.scrape import read_evidence
from auto_deployment.release.analysis.verdict import Decision, Verdict, verdict
from auto_deployment.release.bake import with_reasons
from tests.bench import verdict as bench
from tests.bench.releases import EDGES, FAULTS, HEALTHY, Fault, simulate
from tests.unit.auto_deployment.release.analysis.scrapes import BEGAN, STEP, VERSION, Scrapes, scrapes_of, through_json, timed

MINUTES = 40
LIMITS = Limits(bake_minutes=MINUTES, max_bake_minutes=2 * MINUTES)


def baked(fault: Fault = HEALTHY, rate: float = 2.0, seed: int = 1, minutes: int = MINUTES) -> Evidence:
    """The evidence of a simulated bake, read from our Prometheus."""
    return seen(scrapes_of(simulate(fault, rate, 1, np.random.default_rng(seed), minutes), EDGES), minutes)


def seen(scrapes: Scrapes, minutes: int = MINUTES) -> Evidence:
    """All that there is to see."""
    return read_evidence(scrapes, Evidence(VERSION, BEGAN), BEGAN + minutes * STEP, STEP)


def outcomes(judged: Verdict) -> dict[str, Outcome]:
    """Each measure's outcome."""
    return {each.name: each.outcome for each in judged.readings}


def changed(evidence: Evidence, service: str, **counters: float) -> Evidence:
    """The same evidence, with other values of a service in every observation; a name's `_` is a blank."""
    values = {name.replace("_", " "): value for name, value in counters.items()}
    observations = [
        Observation(
            observation.at,
            {name: each | values if name == service else each for name, each in observation.services.items()},
            observation.missing,
        )
        for observation in evidence.observations
    ]
    return replace(evidence, observations=tuple(observations))


def test_a_healthy_canary_bakes_and_passes() -> None:
    """Not before its time; then with every measure of the table, and no reason against it."""
    evidence = baked()
    early, late = verdict(evidence, LIMITS, MINUTES - 1), verdict(evidence, LIMITS, MINUTES)
    assert (early.decision, early.status) == (Decision.BAKING, None)
    assert (late.decision, late.status, late.reasons) == (Decision.PASS, 0, [])
    assert [each.name for each in late.readings] == [measure.name for measure in MEASURES if measure.is_on(LIMITS)]
    for each in late.readings:
        assert each.message
        assert f"@ {BEGAN + MINUTES * STEP:.15g}" in each.query or each.name in {"restarts", "worker exits"}
        assert each.required == (each.name != "memory")
        assert each.outcome == (Outcome.REPORTED if each.name == "client" else Outcome.WITHIN)
        assert each.outcome == Outcome.REPORTED or (each.value is not None and each.threshold is not None)
        assert each.sample >= (LIMITS.min_requests if each.name in FALSE_ALARMS else 1)


@pytest.mark.parametrize(
    ("fault", "name"),
    [("mean x5", "slowdown"), ("p99 x5", "slow answers"), ("errors 5 %", "errors"), ("crash every hour", "restarts")],
)
def test_each_fault_fails_it_at_once(fault: str, name: str) -> None:
    """Long before the bake's end, by the measure that it is a fault of; value and threshold stand in the reason."""
    judged = verdict(baked(FAULTS[fault], 20.0, minutes=60), Limits(), 60)
    assert (judged.decision, judged.status) == (Decision.FAIL, 3)
    assert outcomes(judged)[name] == Outcome.WORSE
    worse = next(each for each in judged.readings if each.name == name)
    assert worse.value is not None
    assert worse.threshold is not None
    assert worse.value > worse.threshold
    assert worse.message in judged.reasons
    if worse.evidence is not None:
        assert worse.needed == 1 / FALSE_ALARMS[name]
        assert worse.evidence >= worse.needed


def killed_at(*observations: int) -> Series:
    """How many workers a service has lost, one before each of these observations."""
    return Series({}, timed(2.0 + np.cumsum(np.isin(np.arange(MINUTES + 1), observations))))


def with_exits(**services: Series) -> Evidence:
    """A healthy bake in which services lost workers."""
    scrapes = scrapes_of(simulate(HEALTHY, 2.0, 1, np.random.default_rng(1), MINUTES), EDGES)
    for number, each in enumerate(scrapes.series["service exits"]):
        name = each.labels["service"].replace("-", "_")
        scrapes.series["service exits"][number] = replace(each, values=services.get(name, each).values)
    return seen(scrapes)


def test_a_worker_that_is_killed_fails_the_canary_though_its_master_goes_on() -> None:
    """For its memory, by a segfault or after 30 s without a sign: no start is told of, and no counter falls."""
    judged = verdict(with_exits(canary=killed_at(10, 20)), LIMITS, MINUTES)
    assert (judged.decision, judged.reasons) == (Decision.FAIL, ["2 workers died, limit 0"])
    assert {name for name, outcome in outcomes(judged).items() if outcome == Outcome.WORSE} == {"worker exits"}
    assert outcomes(judged)["restarts"] == Outcome.WITHIN


def test_workers_that_everybody_loses_are_nobodys_fault() -> None:
    """As where the machine stood still; nor is what a stable service loses the canary's."""
    together = {name: killed_at(10) for name in ("canary", "stable_1", "stable_2")}
    for services in (together, {"stable_1": killed_at(10)}):
        assert verdict(with_exits(**services), LIMITS, MINUTES).decision == Decision.PASS


def test_a_worker_that_died_in_the_last_look_is_judged_by_the_next() -> None:
    """It holds the verdict back."""
    judged = verdict(with_exits(canary=killed_at(MINUTES)), LIMITS, MINUTES)
    assert (judged.decision, outcomes(judged)["worker exits"]) == (Decision.BAKING, Outcome.ABOVE)


def test_older_evidence_that_knows_of_no_workers_is_judged_and_goes_on() -> None:
    """The verdict waits until an observation has them."""
    evidence = baked()
    observations = [
        Observation(
            observation.at,
            {name: {key: each[key] for key in each if key != "exits"} for name, each in observation.services.items()},
        )
        for observation in evidence.observations
    ]
    older = through_json(replace(evidence, observations=tuple(observations)))
    judged = verdict(older, LIMITS, MINUTES)
    assert (judged.decision, outcomes(judged)["worker exits"]) == (Decision.BAKING, Outcome.TOO_FEW)
    assert (
        verdict(replace(older, observations=(*older.observations[:-1], evidence.observations[-1])), LIMITS, MINUTES).decision
        == Decision.PASS
    )


def test_the_known_rule_fails_a_mean_above_its_limit() -> None:
    """Before the bake's end where it is certain; in the words that a mail quotes."""
    services = simulate(HEALTHY, 2.0, 1, np.random.default_rng(1), 240)
    for service in services.values():
        service.seconds[:] = service.answers * 0.7
    judged = verdict(seen(scrapes_of(services, EDGES), 240), Limits(), 240)
    assert judged.reasons == ["mean 700 ms, limit 500 ms"]
    assert outcomes(judged)["slowdown"] == Outcome.WITHIN


def test_at_the_bake_s_end_the_limit_itself_is_not_below_the_limit() -> None:
    """The known rule is asked of the plain mean then, certain or not; before that it may bake on."""
    for mean, end in ((0.4999, Decision.PASS), (0.5001, Decision.FAIL)):
        services = simulate(HEALTHY, 2.0, 1, np.random.default_rng(1), MINUTES)
        for service in services.values():
            service.seconds[:] = service.answers * mean
        evidence = seen(scrapes_of(services, EDGES))
        assert verdict(evidence, LIMITS, MINUTES).decision == end
        assert verdict(evidence, LIMITS, MINUTES - 1).decision == Decision.BAKING


def test_too_few_requests_extend_the_bake_and_end_it_inconclusive() -> None:
    """Never pass, never fail; and it says of what there were too few."""
    evidence = baked(rate=0.1)
    ends = [verdict(evidence, LIMITS, minutes) for minutes in (MINUTES, 2 * MINUTES - 1, 2 * MINUTES)]
    assert [each.decision for each in ends] == [Decision.BAKING, Decision.BAKING, Decision.INCONCLUSIVE]
    assert ends[-1].status == 4
    assert {name for name, outcome in outcomes(ends[-1]).items() if outcome == Outcome.TOO_FEW} == set(FALSE_ALARMS)
    assert all("too few" in reason for reason in ends[-1].reasons)


def test_few_requests_are_enough_to_fail() -> None:
    """Every try failed: nobody waits for 500."""
    judged = verdict(changed(baked(rate=0.1), "canary", try_2xx=0.0, try_5xx=6.0), LIMITS, 12)
    assert judged.decision == Decision.FAIL
    assert next(each for each in judged.readings if each.name == "errors").sample < LIMITS.min_requests


def test_no_traffic_at_all_is_inconclusive() -> None:
    """Counters that stand still are no success."""
    evidence = baked(rate=0.0)
    assert verdict(evidence, LIMITS, MINUTES).decision == Decision.BAKING
    assert verdict(evidence, LIMITS, 2 * MINUTES).decision == Decision.INCONCLUSIVE


@pytest.mark.parametrize("gap", list(MissingData))
def test_no_gap_is_success(gap: MissingData) -> None:
    """Each is named, holds the verdict back at the end, and fails nothing."""
    evidence = baked()
    last = replace(evidence.observations[-1], missing={"canary service": gap})
    evidence = replace(evidence, observations=(*evidence.observations[:-1], last))
    judged = verdict(evidence, LIMITS, MINUTES)
    assert judged.decision == Decision.BAKING
    assert verdict(evidence, LIMITS, 2 * MINUTES).decision == Decision.INCONCLUSIVE
    assert {name for name, outcome in outcomes(judged).items() if outcome == Outcome.NO_DATA} == {
        *("mean", "slowdown", "slow answers", "restarts", "worker exits")
    }
    assert all(str(gap) in reason for reason in judged.reasons)


def test_an_outage_holds_every_measure_back() -> None:
    """Prometheus is away at the bake's end: it bakes on, and passes when it is back."""
    evidence = baked()
    away = replace(evidence, outage=MissingData.UNREACHABLE)
    assert set(outcomes(verdict(away, LIMITS, MINUTES)).values()) == {Outcome.NO_DATA}
    assert verdict(away, LIMITS, MINUTES).decision == Decision.BAKING
    assert verdict(evidence, LIMITS, MINUTES + 5).decision == Decision.PASS


def test_what_was_found_worse_stays_so_in_an_outage() -> None:
    """A gap hides no verdict."""
    away = replace(baked(FAULTS["errors 20 %"]), outage=MissingData.REFUSED)
    assert verdict(away, LIMITS, MINUTES).decision == Decision.FAIL


def test_before_the_first_look_there_is_nothing_to_say() -> None:
    """It bakes; nothing is worse, nothing is well."""
    judged = verdict(Evidence(VERSION, BEGAN), LIMITS, 0.0)
    assert judged.decision == Decision.BAKING
    assert set(outcomes(judged).values()) <= {Outcome.TOO_FEW, Outcome.REPORTED}


def test_above_a_threshold_without_certainty_neither_passes_nor_fails() -> None:
    """A quarter slower in a short bake: perhaps. The bake is extended, and inconclusive at its end."""
    services = simulate(HEALTHY, 2.0, 1, np.random.default_rng(1), MINUTES)
    others = sum(services[name].seconds.sum() / services[name].answers.sum() for name in ("stable-1", "stable-2")) / 2
    services["canary"].seconds[:] = services["canary"].answers * others * 1.25
    evidence = seen(scrapes_of(services, EDGES))
    judged = verdict(evidence, LIMITS, MINUTES)
    assert outcomes(judged)["slowdown"] == Outcome.ABOVE
    assert judged.decision == Decision.BAKING
    assert verdict(evidence, LIMITS, 2 * MINUTES).decision == Decision.INCONCLUSIVE


ADVISORY = [measure for measure in MEASURES if measure.setting is not None]


def without(evidence: Evidence, source: str, minutes: int) -> Evidence:
    """The same bake, a source of which was away from its first observation on."""
    services = ("canary", "stable-1", "stable-2")
    keys = {"cadvisor": {"memory"}}.get(source, set())
    observations = [
        replace(
            observation,
            services={name: {key: each[key] for key in each if key not in keys} for name, each in observation.services.items()},
            missing={f"{name} {source}": MissingData.EMPTY for name in services} if keys else {},
        )
        for observation in evidence.observations[:minutes]
    ]
    return replace(evidence, observations=tuple(observations), watched=None)


@pytest.mark.parametrize("measure", ADVISORY, ids=lambda measure: str(measure.name))
def test_a_healthy_canary_passes_at_720_minutes_without_an_optional_source(measure: Measure) -> None:
    """It is said to be missing; where the operator requires it, the bake goes on and ends inconclusive."""
    evidence = without(baked(minutes=720), measure.source, 720)
    judge, require = (
        Limits(memory=value, watched=value if measure.name == "watched" else "off") for value in ("judge", "require")
    )
    early, late = verdict(evidence, judge, 719), verdict(evidence, judge, 720)
    assert (early.decision, late.decision, late.reasons) == (Decision.BAKING, Decision.PASS, [])
    assert [each.name for each in late.readings if each.is_missing] == [measure.name]
    assert late.missing
    assert all("advisory" in line for line in late.missing)
    assert verdict(evidence, require, 720).decision == Decision.BAKING
    ended = verdict(evidence, require, 1440)
    assert (ended.decision, len(ended.reasons)) == (Decision.INCONCLUSIVE, 1)
    assert ended.reasons[0].startswith(measure.name)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: str(measure.name))
def test_the_docs_show_each_measure_with_its_source_and_whether_it_is_required(measure: Measure) -> None:
    """As the table of the code has it."""
    page = (Path(__file__).resolve().parents[5] / "docs" / "release.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| `{measure.name}` | "))
    source, required = (cell.strip() for cell in row.split("|")[3:5])
    assert source.lower() == measure.source
    assert required == ("yes" if measure.setting is None else f"with `CANARY_{measure.setting.upper()}=require`")


def test_memory_that_is_switched_off_is_not_read() -> None:
    """Not even where it is far above the limit."""
    judged = verdict(changed(baked(), "canary", memory=9e9), replace(LIMITS, memory="off"), MINUTES)
    assert judged.decision == Decision.PASS
    assert "memory" not in outcomes(judged)


def test_what_an_advisory_measure_found_fails_a_canary_all_the_same() -> None:
    """Memory at twice the others', whether it is required or not."""
    leaking = changed(baked(), "canary", memory=2.1e8)
    for memory in ("judge", "require"):
        assert verdict(leaking, replace(LIMITS, memory=memory), MINUTES).decision == Decision.FAIL


def with_slow_answers(evidence: Evidence, count: int) -> Evidence:
    """A bake of 1,900 answers of the canary after its cold start, `count` of them slow; 19 of the others' 7,600 are."""
    observations, late = [], {2 + 38 * each // count for each in range(count)}
    for number, observation in enumerate(evidence.observations):
        own = times(50.0, one_is_slow=number in late)
        other = times(100.0, one_is_slow=number >= 2 and number % 2 == 0)
        values = {"canary": own, "stable-1": other, "stable-2": times(100.0)}
        observations.append(
            replace(observation, services={name: each | values.get(name, {}) for name, each in observation.services.items()})
        )
    return replace(evidence, observations=tuple(observations))


def times(answers: float, *, one_is_slow: bool = False) -> dict[str, float]:
    """An observation's histogram: all answers within the first edge, but for a slow one of 50 ms."""
    below = {f"le {edge:g}": answers - (one_is_slow and edge < 0.05) for edge in EDGES}
    return below | {"le +Inf": answers, "seconds": answers / 1000}


def test_a_few_slow_answers_that_chance_explains_hold_nothing_up() -> None:
    """Seven of 1,900 where 5.7 are allowed: above the limit, and no sign of anything. Twelve are one."""
    few, more = (verdict(with_slow_answers(baked(), count), LIMITS, MINUTES) for count in (7, 12))
    reading = next(each for each in few.readings if each.name == "slow answers")
    assert reading.value == pytest.approx(7 / 1900)
    assert reading.threshold == pytest.approx(19 / 7600 + 0.0005)
    assert "chance explains it" in reading.message
    assert few.decision == Decision.PASS
    assert outcomes(more)["slow answers"] == Outcome.ABOVE
    assert more.decision == Decision.BAKING


def test_what_clients_got_is_reported_only() -> None:
    """Retries hide a sick canary from them, and another service's fault is not its own."""
    evidence = changed(baked(), CLIENT, answer_5xx=50.0)
    judged = verdict(evidence, LIMITS, MINUTES)
    client = next(each for each in judged.readings if each.name == "client")
    assert judged.decision == Decision.PASS
    assert client.outcome == Outcome.REPORTED
    assert client.value is not None
    assert 0.5 < client.value < 1
    assert f"{50 * MINUTES} of " in client.message


def test_a_try_that_the_client_broke_off_is_neither_success_nor_failure() -> None:
    """It does not count among the tries."""
    plain, cut = baked(), changed(baked(), "canary", try_cut=500.0)
    assert verdict(plain, LIMITS, MINUTES) == verdict(cut, LIMITS, MINUTES)


@pytest.mark.parametrize("outcome", ["5xx", "timeout", "error"])
def test_every_way_to_fail_counts(outcome: str) -> None:
    """By status, by time, by a broken connection."""
    judged = verdict(changed(baked(), "canary", **{f"try_{outcome}": 30.0}), LIMITS, 5)
    assert judged.decision == Decision.FAIL
    assert outcomes(judged)["errors"] == Outcome.WORSE


def test_memory_fails_when_it_stays_at_twice_the_others() -> None:
    """In each of the last observations; a peak passes."""
    evidence = baked()
    leaking = changed(evidence, "canary", memory=2.1e8)
    assert outcomes(verdict(leaking, LIMITS, MINUTES))["memory"] == Outcome.WORSE
    peak = replace(evidence, observations=(*evidence.observations[:-1], *leaking.observations[-1:]))
    assert outcomes(verdict(peak, LIMITS, MINUTES))["memory"] == Outcome.WITHIN
    young = replace(leaking, observations=leaking.observations[: MEMORY_OBSERVATIONS - 1])
    assert outcomes(verdict(young, LIMITS, MINUTES))["memory"] == Outcome.WITHIN


def test_a_verdict_is_kept_as_json() -> None:
    """With reasons, and without what JSON has no word for."""
    for judged in (verdict(baked(FAULTS["errors 20 %"]), LIMITS, 9.0), verdict(Evidence(VERSION, BEGAN), LIMITS, 0.0)):
        kept = json.loads(json.dumps(with_reasons(judged), allow_nan=False))
        assert kept["end"] == judged.decision
        assert kept["reasons"] == judged.reasons
        assert [each["name"] for each in kept["readings"]] == [measure.name for measure in MEASURES if measure.is_on(LIMITS)]


@pytest.mark.parametrize(("fault", "rate"), [("mean x5", 2.0), ("errors 5 %", 2.0), ("p99 x5", 20.0)])
def test_the_benchmark_measures_this_very_verdict(fault: str, rate: float) -> None:
    """Looked at minute by minute through Prometheus it fails in the minute that the benchmark says."""
    services = simulate(FAULTS[fault], rate, 1, np.random.default_rng(3), MINUTES)
    minute = int(bench.judge(services).ours[0])
    scrapes = scrapes_of(services, EDGES)
    evidence = Evidence(VERSION, BEGAN)
    ends = []
    for number in range(minute + 1):
        evidence = read_evidence(scrapes, evidence, BEGAN + number * STEP, STEP)
        ends.append(verdict(evidence, Limits(), float(number)).decision)
    assert ends == [Decision.BAKING] * minute + [Decision.FAIL]
