from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest
from pydantic import TypeAdapter

from auto_deployment.common.json_file import to_json
from auto_deployment.release.analysis.evidence import (
    CounterStart,
    Evidence,
    MissingData,
    Sample,
    Span,
    increases,
    spans,
    with_observation,
)
from tests.unit.auto_deployment.release.analysis.scrapes import through_json

SOURCE = ("canary", "service")


def sample(count: float, seconds: float = 0.0, **gauges: float) -> Sample:
    """What a scrape of a service shows."""
    return Sample({"le +Inf": count, "seconds": seconds}, {"up": 1.0, **gauges})


def looked(*samples: Sample) -> Evidence:
    """A bake in which one source was seen so, a minute apart."""
    evidence = Evidence("7", 0.0)
    for number, each in enumerate(samples):
        evidence = with_observation(evidence, 60.0 * number, {SOURCE: each})
    return evidence


def counts(evidence: Evidence, key: str = "le +Inf") -> list[float]:
    """What a counter rose by in each observation."""
    return [observation.services["canary"][key] for observation in evidence.observations if "canary" in observation.services]


def test_the_first_look_is_where_counting_begins() -> None:
    """Shadow, warm-up and smoke requests were before: only what comes after counts."""
    evidence = looked(sample(4000, 9.0), sample(4010, 9.5), sample(4010, 9.5), sample(4017, 9.9))
    assert counts(evidence) == [10, 0, 7]
    assert counts(evidence, "seconds") == pytest.approx([0.5, 0.0, 0.4])
    assert [observation.at for observation in evidence.observations] == [60, 120, 180]


def test_a_source_that_began_anew_counts_from_nothing() -> None:
    """What it counts since is all new, in each of its series, and a restart is counted."""
    evidence = looked(sample(4000, 9.0), sample(30, 9.5), sample(45, 9.9))
    assert counts(evidence) == [30, 15]
    assert counts(evidence, "seconds") == pytest.approx([9.5, 0.4])
    assert counts(evidence, "restarts") == [1, 0]


def test_a_later_start_is_a_restart_even_where_counters_have_grown_past() -> None:
    """Its time of start tells; a clock's last digits do not."""
    evidence = looked(sample(10, started=100.0), sample(12, started=100.4), sample(50, started=170.0))
    assert counts(evidence) == [2, 50]
    assert counts(evidence, "restarts") == [0, 1]


def test_a_series_that_comes_later_began_at_nothing() -> None:
    """The first errors are errors: a series that was not there before is new, as its source was."""
    last = {"try 2xx": 100.0, "up": 1.0}
    assert increases(last, Sample({"try 2xx": 110.0, "try 5xx": 3.0}, {"up": 1.0})) == {"try 2xx": 10.0, "try 5xx": 3.0}
    quiet = looked(Sample({}, {"up": 1.0, "started": 5.0}), sample(8, started=5.0))
    assert counts(quiet) == [8]


def test_of_a_source_that_was_never_seen_nothing_is_known() -> None:
    """It counts from where it is first seen."""
    assert increases({}, sample(5000, 3.0)) == {"le +Inf": 0.0, "seconds": 0.0, "restarts": 0.0}


def test_the_ends_of_workers_that_older_evidence_did_not_ask_for_are_not_of_this_look() -> None:
    """A service tells of them from its start on: where they are first seen is where counting begins."""
    kept = through_json(looked(sample(100), sample(110)))
    evidence = with_observation(kept, 120.0, {SOURCE: Sample({"le +Inf": 120.0, "seconds": 0.0, "exits": 4.0}, {"up": 1.0})})
    evidence = with_observation(
        evidence, 180.0, {SOURCE: Sample({"le +Inf": 130.0, "seconds": 0.0, "exits": 5.0}, {"up": 1.0})}
    )
    assert [observation.services["canary"].get("exits") for observation in evidence.observations] == [None, 0, 1]
    assert counts(evidence) == [10, 10, 10]


@pytest.mark.parametrize(
    ("seen", "gap"),
    [
        (Sample({}, {}), MissingData.EMPTY),
        (Sample({}, {"up": 1.0}), MissingData.EMPTY),
        (Sample({"seconds": 1.0}, {"up": 0.0}), MissingData.NO_DATA),
        (Sample({"seconds": nan}, {"up": 1.0}), MissingData.NOT_A_NUMBER),
        (Sample({}, {"memory": nan}), MissingData.NOT_A_NUMBER),
        (Sample({"seconds": 1.0}, {}), None),
        (Sample({}, {"memory": 1.0}), None),
    ],
)
def test_nothing_is_distinguished_from_nothing(seen: Sample, gap: MissingData | None) -> None:
    """No such series, a target that is not scraped, and no number are three things, and none is 0."""
    assert seen.missing == gap
    evidence = with_observation(looked(sample(1)), 60.0, {SOURCE: seen})
    assert evidence.observations[-1].missing == ({"canary service": gap} if gap else {})
    assert ("canary" in evidence.observations[-1].services) == (gap is None)


def test_what_was_counted_in_a_gap_is_counted_after_it() -> None:
    """Counters go on while nobody observes them."""
    evidence = looked(sample(100), sample(110), Sample({}, {"up": 0.0}), Sample({"seconds": nan}, {}), sample(150))
    assert counts(evidence) == [10, 40]


def test_evidence_survives_as_json() -> None:
    """What a resumed controller reads is what was written."""
    evidence = looked(sample(100), sample(110, memory=5.0), Sample({}, {}))
    evidence = Evidence(**{**vars(evidence), "outage": MissingData.UNREACHABLE})
    assert through_json(evidence) == evidence
    assert through_json(evidence.observations[1]) == evidence.observations[1]


def increase_spans(evidence: Evidence, first: int = 0) -> tuple[Span, ...]:
    """When the source's counters rose by what the observations from `first` on hold."""
    return spans(evidence, "canary service", range(first, len(evidence.observations)))


def test_an_undisturbed_bake_is_one_span() -> None:
    """From where counting begins to the last observation, or from a later observation on."""
    evidence = looked(sample(4000), sample(4010), sample(4020), sample(4030))
    assert increase_spans(evidence) == (Span(0.0, 180.0),)
    assert increase_spans(evidence, 2) == (Span(120.0, 180.0),)


def test_a_span_begins_at_zero_where_the_counters_do() -> None:
    """The counters at its start are not those that rose."""
    evidence = looked(sample(4000), sample(4010), sample(5), sample(9))
    assert evidence.observations[1].counter_starts == {"canary service": CounterStart.ZERO}
    assert increase_spans(evidence) == (Span(0.0, 60.0), Span(None, 180.0))


def test_a_span_goes_over_a_gap_and_begins_where_the_source_was_first_seen() -> None:
    """As counting does."""
    away = Sample({}, {"up": 0.0})
    assert increase_spans(looked(sample(1), away, sample(5))) == (Span(0.0, 120.0),)
    late = looked(away, away, sample(5), sample(9))
    assert late.observations[1].counter_starts == {"canary service": CounterStart.UNKNOWN}
    assert increase_spans(late) == (Span(120.0, 180.0),)


def test_the_time_that_the_machine_was_away_is_in_no_span() -> None:
    """Counting begins again after it."""
    before = looked(sample(1), sample(5))
    rebooted = replace(before, began=500.0, until=None, counters={})
    after = with_observation(with_observation(rebooted, 500.0, {SOURCE: sample(2)}), 560.0, {SOURCE: sample(8)})
    assert increase_spans(after) == (Span(0.0, 60.0), Span(500.0, 560.0))


def test_evidence_of_older_code_has_spans_too() -> None:
    """It says neither from when an observation counts nor what began anew."""
    written = to_json(looked(sample(1), sample(5), sample(9)))
    for observation in written["looks"]:
        del observation["since"], observation["anew"]
    older = TypeAdapter(Evidence).validate_python(written)
    assert increase_spans(older) == (Span(0.0, 120.0),)
    newer = with_observation(older, 180.0, {SOURCE: sample(12)})
    assert increase_spans(newer) == (Span(0.0, 180.0),)
    assert counts(newer) == [4, 4, 3]
