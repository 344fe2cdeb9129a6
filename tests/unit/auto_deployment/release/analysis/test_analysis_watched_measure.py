from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from auto_deployment.common.json_file import to_json
from auto_deployment.online_evaluation.watched_counts import WatchedCounts
from auto_deployment.release.analysis.aa_test import self_test
from auto_deployment.release.analysis.comparison import WATCHED_FALSE_ALARMS, Limits
from auto_deployment.release.analysis.evidence import Evidence
from auto_deployment.release.analysis.measures import MEASURES
from auto_deployment.release.analysis.readings import Outcome, Reading
from auto_deployment.release.analysis.verdict import Decision, verdict
from auto_deployment.release.analysis.watched_measure import NAME, evidence, read
from tests.unit.auto_deployment.release.analysis.scrapes import through_json
from tests.unit.auto_deployment.release.analysis.test_analysis_verdict import LIMITS, MINUTES
from tests.unit.auto_deployment.release.analysis.test_analysis_verdict import baked as healthy_bake

JUDGE, REQUIRE = replace(LIMITS, watched="judge"), replace(LIMITS, watched="require")
BINS = 66  # of ten minutes, in twelve hours less the hour that the last answers are too young


def baked(share: float, base_share: float, users: int, seed: int = 1) -> WatchedCounts:
    """A bake in which so many users got their first answer from the canary, and four times as many beside it."""
    rng = np.random.default_rng(seed)
    own, beside = rng.multinomial(users, np.full(BINS, 1 / BINS)), rng.multinomial(4 * users, np.full(BINS, 1 / BINS))
    hits, base_hits = rng.binomial(own, share), rng.binomial(beside, base_share)
    counts = {"users": own, "hits": hits, "base_users": beside, "base_hits": base_hits}
    return TypeAdapter(WatchedCounts).validate_python({name: column.tolist() for name, column in counts.items()})


def outcome(watched: WatchedCounts | None, limits: Limits) -> Outcome:
    """What the measure says."""
    return reading_of(watched, limits).outcome


def reading_of(watched: WatchedCounts | None, limits: Limits) -> Reading:
    """The row of the table, read."""
    return read(next(measure for measure in MEASURES if measure.name == NAME), watched, limits)


@pytest.mark.parametrize("limits", [JUDGE, REQUIRE])
def test_a_canary_that_is_watched_as_much_keeps_to_the_limit(limits: Limits) -> None:
    """With shares, users and the limit in the words that a person reads."""
    reading = reading_of(baked(0.2, 0.2, 2000), limits)
    assert reading.outcome == Outcome.WITHIN
    assert reading.value == pytest.approx(1.0, abs=0.15)
    assert (reading.threshold, reading.sample) == (0.8, 2000)
    assert "of 2000 users" in reading.message
    assert "limit 0.8" in reading.message


@pytest.mark.parametrize("limits", [JUDGE, REQUIRE])
def test_one_that_is_watched_half_as_much_is_worse(limits: Limits) -> None:
    """For certain: the evidence reached what is needed."""
    reading = reading_of(baked(0.1, 0.2, 4000), limits)
    assert reading.outcome == Outcome.WORSE
    assert reading.evidence is not None
    assert reading.needed == 1 / WATCHED_FALSE_ALARMS
    assert reading.evidence >= reading.needed


@pytest.mark.parametrize("known", [None, WatchedCounts(), WatchedCounts(problem="there is no telemetry"), baked(0.2, 0.2, 30)])
def test_too_little_is_no_failure_and_blocks_only_where_it_must_be_known(known: WatchedCounts | None) -> None:
    """Nothing collected, nobody yet, a problem, or few users: the setting says what that means."""
    bake = replace(healthy_bake(), watched=known)
    judged, required, off = (verdict(bake, limits, MINUTES) for limits in (JUDGE, REQUIRE, LIMITS))
    assert judged.readings[-1].outcome == required.readings[-1].outcome == Outcome.TOO_FEW
    assert (judged.decision, required.decision) == (Decision.PASS, Decision.BAKING)
    assert [each.name for each in off.readings] == [each.name for each in judged.readings[:-1]]


def test_below_the_limit_but_not_for_certain_is_not_promoted_yet() -> None:
    """It bakes on: neither worse nor good."""
    users = (600,)
    assert outcome(WatchedCounts(users, (80,), (2400,), (480,)), JUDGE) == Outcome.ABOVE


def test_below_the_limit_by_chance_holds_nothing_up() -> None:
    """7 of 600 users where 40 of 2,400 make 10: three fewer are no sign of anything."""
    assert outcome(WatchedCounts((600,), (7,), (2400,), (40,)), JUDGE) == Outcome.WITHIN


def test_the_verdict_reads_it_where_it_is_switched_on() -> None:
    """Else healthy: fails at once when watched less, passes when watched alike, waits where it must be known."""
    healthy = healthy_bake()
    worse, alike = replace(healthy, watched=baked(0.1, 0.2, 4000)), replace(healthy, watched=baked(0.2, 0.2, 4000))
    failed = verdict(worse, JUDGE, MINUTES / 2)
    assert failed.decision == Decision.FAIL
    assert failed.reasons == [failed.readings[-1].message]
    assert [verdict(each, JUDGE, MINUTES).decision for each in (alike, healthy)] == [Decision.PASS, Decision.PASS]
    assert [verdict(each, REQUIRE, MINUTES).decision for each in (alike, healthy)] == [Decision.PASS, Decision.BAKING]
    assert verdict(healthy, REQUIRE, 2 * MINUTES).decision == Decision.INCONCLUSIVE
    assert verdict(worse, LIMITS, MINUTES).decision == Decision.PASS


def test_the_self_test_is_not_asked_it() -> None:
    """Telemetry knows tracks, and both stable services are of one."""
    healthy = healthy_bake()
    tested = self_test(replace(healthy, watched=baked(0.1, 0.2, 4000)), REQUIRE, MINUTES)
    assert "watched" not in {each.name for each in tested.readings}


def test_the_one_who_resumes_a_bake_has_it_too() -> None:
    """Through JSON and back; evidence of before it was known reads as none."""
    known = Evidence("7", 0.0, watched=baked(0.2, 0.2, 100))
    assert through_json(known) == known
    written = to_json(known)
    del written["watched"]
    assert TypeAdapter(Evidence).validate_python(written).watched is None


def test_false_alarms_keep_to_their_share_at_the_limit_itself() -> None:
    """Of bakes watched at exactly the limit, looked at after each bin, at most one in a thousand is called worse."""
    needed = -np.log(WATCHED_FALSE_ALARMS)
    alarms = sum(evidence(baked(0.16, 0.2, 3000, seed), JUDGE) >= needed for seed in range(1500))
    assert alarms <= 5  # P(more | 1 in 1,000) < 1 %


def test_a_half_is_found_in_most_bakes_of_a_few_thousand_users() -> None:
    """Power, beside the promise."""
    needed = -np.log(WATCHED_FALSE_ALARMS)
    few, many = (
        np.mean([evidence(baked(0.1, 0.2, users, seed), JUDGE) >= needed for seed in range(60)]) for users in (300, 2000)
    )
    assert few < 0.5
    assert many > 0.9
