"""The evidence of a bake: one observation at a time, kept as JSON, so that a resumed bake has the same evidence."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read_typed evaluates the annotations
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf, isnan
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from auto_deployment.online_evaluation.watched_counts import WatchedCounts  # noqa: TC001 - the same

if TYPE_CHECKING:
    from collections.abc import Container

Counters = dict[str, float]
# Gauges that show a source to be there, even before its first counter.
PRESENCE_GAUGES = {"started", "up"}
# A service has these series from its start. Where such a series is new in the evidence, only its query is new.
ALWAYS_PRESENT = {"exits"}


class CounterStart(StrEnum):
    """How the counters of a source began at an observation."""

    ZERO = "from zero"
    UNKNOWN = "from what they were"


class MissingData(StrEnum):
    """Why metrics are missing. None of these reasons counts as success."""

    UNREACHABLE = "Prometheus cannot be reached"
    REFUSED = "Prometheus refuses the query"
    EMPTY = "no such series"
    NO_DATA = "the target is not scraped"
    AHEAD = "the figures are of a later time than the clock says"
    NOT_A_NUMBER = "the value is not a number"


@dataclass(frozen=True)
class Observation:
    """One observation. `services`: for each service or pod the increases of its counters, its gauges, and `restarts`.

    `missing` names each service and source without data, as "canary service". `since` is the time of the observation before;
    None in evidence of older code. `counter_starts` names each service and source whose counters began anew.
    """

    at: float
    services: Mapping[str, Counters]
    missing: Annotated[Mapping[str, MissingData], Field(alias="gaps")] = field(default_factory=dict)
    since: float | None = None
    counter_starts: Annotated[Mapping[str, CounterStart], Field(alias="anew")] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """The observations of a bake of `candidate` running `version`, compared with `baseline`. Times in seconds since 1970.

    `candidate` and `baseline` name services. With pods they name sides, and a pod of a side is named `canary/POD`.
    `began`: the bake's begin. `counters`: the last values, by service and source; `until`: their time. `outage`: why the last
    attempt got no data. `watched`: what telemetry counted, where the limits ask for it.
    """

    version: str
    began: float
    candidate: str = "canary"
    baseline: tuple[str, ...] = ("stable-1", "stable-2")
    observations: Annotated[tuple[Observation, ...], Field(alias="looks")] = ()
    counters: Mapping[str, Counters] = field(default_factory=dict)
    until: float | None = None
    outage: MissingData | None = None
    watched: WatchedCounts | None = None


@dataclass(frozen=True)
class Sample:
    """What one source of one service showed at one time; `refused`: Prometheus cannot answer for that source."""

    counters: Counters
    gauges: Counters
    refused: bool = False

    @property
    def missing(self) -> MissingData | None:
        """Why the sample cannot be used; None where it can."""
        if self.refused:
            return MissingData.REFUSED
        if self.gauges.get("up") == 0:
            return MissingData.NO_DATA
        if any(map(isnan, (*self.counters.values(), *self.gauges.values()))):
            return MissingData.NOT_A_NUMBER
        return None if self.counters or set(self.gauges) - {"up"} else MissingData.EMPTY


def with_observation(evidence: Evidence, at: float, samples: Mapping[tuple[str, str], Sample]) -> Evidence:
    """The evidence with the samples taken at `at`, by service and source. Counting begins at the first samples."""
    services: dict[str, Counters] = {}
    missing: dict[str, MissingData] = {}
    counter_starts: dict[str, CounterStart] = {}
    counters = {name: dict(last) for name, last in evidence.counters.items()}
    for (service, source), sample in samples.items():
        name = f"{service} {source}"
        if sample.missing is not None:
            missing[name] = sample.missing
            continue
        last = counters.setdefault(name, {})
        increased = increases(last, sample)
        if sample.counters and (not last or began_anew(last, sample)):
            counter_starts[name] = CounterStart.ZERO if last else CounterStart.UNKNOWN
        last.update(sample.counters | {key: sample.gauges[key] for key in PRESENCE_GAUGES & set(sample.gauges)})
        services[service] = services.get(service, {}) | increased
    observations = evidence.observations
    if evidence.until is not None:
        observations = (*observations, Observation(at, services, missing, evidence.until, counter_starts))
    return replace(evidence, observations=observations, counters=counters, until=at, outage=None)


def increases(last: Counters, sample: Sample) -> Counters:
    """The increases of counters since `last`, the gauges, and `restarts` where the source exports its start time.

    A source that began anew counts from 0. A new series of a known source began at 0, except the series that exist from the
    start. For a source that was never observed nothing is known, so nothing counts.
    """
    anew = began_anew(last, sample)
    known = {name: 0.0 if last and name not in ALWAYS_PRESENT else value for name, value in sample.counters.items()} | last
    increased = {name: value - (0.0 if anew else known[name]) for name, value in sample.counters.items()}
    gauges = {name: value for name, value in sample.gauges.items() if name not in PRESENCE_GAUGES}
    restarts = {"restarts": float(anew)} if "seconds" in sample.counters or "started" in sample.gauges else {}
    return increased | gauges | restarts


def began_anew(last: Counters, sample: Sample) -> bool:
    """Whether a source's counters count from 0 since `last`: a counter fell, or the source exports a later start time."""
    fell = any(value < last.get(name, 0.0) for name, value in sample.counters.items())
    return fell or sample.gauges.get("started", 0.0) > last.get("started", inf) + 1.0


class Span(NamedTuple):
    """From when to when a source's counters increased, in seconds since 1970; `start` is None where they began at 0."""

    start: float | None
    end: float


def spans(evidence: Evidence, name: str, numbers: Container[int]) -> tuple[Span, ...]:
    """The spans over which the counters of `name`, a service and source, increased by what the observations `numbers` hold.

    In order of time; no time is in two spans.
    """
    found: list[Span] = []
    known: float | None = None
    for number, observation in enumerate(evidence.observations):
        since, before = begin_of(evidence, number), evidence.observations[number - 1].at if number else None
        known = since if known is None or since != before else known
        if name in observation.missing or name.rpartition(" ")[0] not in observation.services:
            continue
        starts = {CounterStart.ZERO: None, CounterStart.UNKNOWN: observation.at, None: known}
        start = starts[observation.counter_starts.get(name)]
        if number in numbers and start != observation.at:
            joined = found.pop() if found and found[-1].end == start else None
            found.append(Span(joined.start if joined else start, observation.at))
        known = observation.at
    return tuple(found)


def begin_of(evidence: Evidence, number: int) -> float:
    """The time from which an observation counts. Evidence of older code has only the times of observations and begin."""
    if (since := evidence.observations[number].since) is not None:
        return since
    return evidence.observations[number - 1].at if number else min(evidence.began, evidence.observations[0].at)
