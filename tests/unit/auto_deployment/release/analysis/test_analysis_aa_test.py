from __future__ import annotations

import numpy as np

from auto_deployment.release.analysis.aa_test import PROMISE, false_alarm_rate, is_false_alarm, self_test
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.analysis.evidence import Evidence
from auto_deployment.release.analysis.scrape import read_evidence
from auto_deployment.release.analysis.verdict import Decision
from tests.bench.releases import EDGES, HEALTHY, Service, simulate
from tests.unit.auto_deployment.release.analysis.scrapes import BEGAN, STEP, VERSION, scrapes_of

MINUTES = 40
LIMITS = Limits(bake_minutes=MINUTES)


def simulated() -> dict[str, Service]:
    """A healthy release."""
    return simulate(HEALTHY, 20.0, 1, np.random.default_rng(1), MINUTES)


def seen(services: dict[str, Service]) -> Evidence:
    """What Prometheus tells of it."""
    return read_evidence(scrapes_of(services, EDGES), Evidence(VERSION, BEGAN), BEGAN + MINUTES * STEP, STEP)


def test_equal_services_pass_by_the_same_rules() -> None:
    """Stable-2 is compared with stable-1 over the observations of the canary's bake."""
    judged = self_test(seen(simulated()), LIMITS, MINUTES)
    assert judged.decision == Decision.PASS
    assert not is_false_alarm(judged)


def test_the_canary_has_no_part_in_it() -> None:
    """However sick it is."""
    services = simulated()
    services["canary"].seconds[:] *= 50
    services["canary"].failures[:] = services["canary"].tries
    assert self_test(seen(services), LIMITS, MINUTES) == self_test(seen(simulated()), LIMITS, MINUTES)


def test_a_slow_stable_service_is_an_alarm_and_a_crashed_one_is_none() -> None:
    """What chance is judged of can be false; a restart is a fact."""
    slow, crashed = simulated(), simulated()
    slow["stable-2"].seconds[:] *= 5
    crashed["stable-2"].restarts[0, 20] = 1
    assert is_false_alarm(self_test(seen(slow), LIMITS, MINUTES))
    judged = self_test(seen(crashed), LIMITS, MINUTES)
    assert judged.decision == Decision.FAIL
    assert not is_false_alarm(judged)


def test_the_rate_of_false_alarms_is_printed_with_its_interval() -> None:
    """Of all self-tests; with its interval, for people and as JSON."""
    rate = false_alarm_rate([False] * 199 + [True])
    assert (rate.hits, rate.count) == (1, 200)
    assert str(rate) == "1 of 200 (0.1% to 2.8%)"
    assert rate.share == 0.005
    assert rate.low <= PROMISE <= rate.high
    assert false_alarm_rate([]).share is None
