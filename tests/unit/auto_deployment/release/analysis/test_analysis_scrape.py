from __future__ import annotations

from math import nan

import numpy as np
import pytest

from auto_deployment.common.prometheus import QueryError, Series, UnreachableError
from auto_deployment.release.analysis.evidence import Evidence, MissingData
from auto_deployment.release.analysis.queries import CLIENT, QUERIES, text_of
from auto_deployment.release.analysis.scrape import read_evidence
from tests.bench.releases import EDGES, HEALTHY, simulate
from tests.unit.auto_deployment.release.analysis.scrapes import BEGAN, STEP, VERSION, Scrapes, scrapes_of, timed

LOOKS = 6


@pytest.fixture
def scrapes() -> Scrapes:
    """Six minutes of a healthy release."""
    return scrapes_of(simulate(HEALTHY, 2.0, 1, np.random.default_rng(1), LOOKS), EDGES)


def looked(scrapes: Scrapes, *observations: int, evidence: Evidence | None = None) -> Evidence:
    """The evidence after looking so many steps after the beginning."""
    found = evidence or Evidence(VERSION, BEGAN)
    for number in observations:
        found = read_evidence(scrapes, found, BEGAN + number * STEP + 3.0, STEP)
    return found


def test_what_was_missed_is_caught_up_with(scrapes: Scrapes) -> None:
    """A controller that comes back after five minutes has the rows of one that looked at each."""
    every = looked(scrapes, *range(LOOKS + 1))
    assert looked(scrapes, 0, 1, 6) == every
    assert looked(scrapes, 6) == every
    assert [observation.at for observation in every.observations] == [BEGAN + number * STEP for number in range(1, LOOKS + 1)]


def test_nothing_is_asked_twice(scrapes: Scrapes) -> None:
    """Only what comes after the last observation; and nothing before the next is due."""
    evidence = looked(scrapes, 2)
    scrapes.asked.clear()
    assert read_evidence(scrapes, evidence, BEGAN + 2.9 * STEP, STEP) == evidence
    assert scrapes.asked == []
    looked(scrapes, 4, evidence=evidence)
    assert set(scrapes.asked) == {(BEGAN + 3 * STEP, BEGAN + 4 * STEP)}


def test_a_clock_that_was_set_back_is_reported(scrapes: Scrapes) -> None:
    """Nothing is asked for times that were judged before; it is no outage while the clock is but a little early."""
    before = looked(scrapes, 5)
    assert looked(scrapes, 4, evidence=before) == before
    behind = looked(scrapes, 1, evidence=before)
    assert (behind.observations, behind.outage) == (before.observations, MissingData.AHEAD)
    assert looked(scrapes, 6, evidence=behind) == looked(scrapes, 5, 6)


@pytest.mark.parametrize(
    ("failure", "gap"), [(UnreachableError("away"), MissingData.UNREACHABLE), (QueryError("parse"), MissingData.REFUSED)]
)
def test_an_outage_is_reported_and_waited_out(scrapes: Scrapes, failure: Exception, gap: MissingData) -> None:
    """The evidence stays as it was, says why, and is whole again afterwards."""
    before = looked(scrapes, 2)
    scrapes.failure = failure
    during = looked(scrapes, 3, 4, evidence=before)
    assert (during.observations, during.until, during.outage) == (before.observations, before.until, gap)
    scrapes.failure = None
    assert looked(scrapes, 6, evidence=during) == looked(scrapes, 6)


def test_a_refusal_for_an_advisory_source_is_a_gap_of_that_source_alone(scrapes: Scrapes) -> None:
    """The others are read as ever, and what is refused for them is an outage."""
    scrapes.refused = "cadvisor"
    evidence = looked(scrapes, LOOKS)
    assert evidence.outage is None
    assert evidence.observations[-1].missing == {
        f"{name} cadvisor": MissingData.REFUSED for name in ("canary", "stable-1", "stable-2")
    }
    assert evidence.observations[-1].services["canary"]["seconds"] > 0
    scrapes.refused = "mtail"
    assert looked(scrapes, LOOKS).outage == MissingData.REFUSED


def test_another_version_of_the_candidate_does_not_count(scrapes: Scrapes) -> None:
    """The canary before this one may still be in Prometheus; the stable services' versions are their own."""
    scrapes.add("service seconds", timed(np.arange(7.0) * 1e6), service="canary", version="5")
    evidence = looked(scrapes, 6)
    assert max(observation.services["canary"]["seconds"] for observation in evidence.observations) < 1000
    assert all(observation.services["stable-1"]["seconds"] > 0 for observation in evidence.observations)


def test_each_gap_is_distinguished(scrapes: Scrapes) -> None:
    """A service whose memory nobody measures, one that is not scraped, and one that tells no number."""
    scrapes.series["cadvisor memory"] = [
        each for each in scrapes.series["cadvisor memory"] if each.labels["service"] != "canary"
    ]
    scrapes.series["service up"][1] = Series({"service": "stable-1"}, timed(np.zeros(7)))
    scrapes.series["service seconds"][2] = Series(scrapes.series["service seconds"][2].labels, timed(np.full(7, nan)))
    gaps = looked(scrapes, 6).observations[-1].missing
    assert gaps == {
        "canary cadvisor": MissingData.EMPTY,
        "stable-1 service": MissingData.NO_DATA,
        "stable-2 service": MissingData.NOT_A_NUMBER,
    }


def test_what_reads_nginx_s_log_is_one_for_all(scrapes: Scrapes) -> None:
    """Where it is not scraped, nobody's tries are known, nor the clients' answers."""
    scrapes.series["mtail up"] = [Series({}, timed(np.zeros(7)))]
    gaps = looked(scrapes, 6).observations[-1].missing
    assert gaps == {f"{name} mtail": MissingData.NO_DATA for name in ("canary", "stable-1", "stable-2", CLIENT)}


def test_a_service_that_nobody_asked_for_is_left_out(scrapes: Scrapes) -> None:
    """Such as the database's container, of which cAdvisor tells too."""
    scrapes.add("cadvisor memory", timed(np.ones(7)), service="mysql")
    assert set(looked(scrapes, 6).observations[-1].services) == {"canary", "stable-1", "stable-2", CLIENT}


def test_queries_are_data_that_name_their_series() -> None:
    """Each braces in pairs, counters unrated (their increases are ours to take), and a key that its own labels fill."""
    assert len({(query.source, query.key) for query in QUERIES}) == len(QUERIES)
    for query in QUERIES:
        assert query.text.count("{") == query.text.count("}") >= 1
        assert "rate(" not in query.text
        assert "increase(" not in query.text
        for label in ("le", "outcome", "status_class"):
            assert (f"{{{label}}}" in query.key) == (f", {label})" in query.text or f"({label})" in query.text)
    assert text_of("try {outcome}").startswith("sum by (service, outcome) (nginx_tries_total")
