"""What is known of a bake: a row for each look, as JSON, so that a resumed bake has the same evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from math import inf, isnan
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from auto_deployment.online_evaluation.watched_counts import WatchedCounts

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

Counters = dict[str, float]
# Gauges that say that a source is there, even before its first counter.
SEEN = {"started", "up"}
# A service has these series from its start on. If one is new here, it was only not asked for before.
ALWAYS_TOLD = {"exits"}


class Anew(StrEnum):
    """How the counters of a source began at a look."""

    ZERO = "from zero"
    UNKNOWN = "from what they were"


class Gap(StrEnum):
    """Why there are no figures. None of these is success."""

    UNREACHABLE = "Prometheus cannot be reached"
    REFUSED = "Prometheus refuses the query"
    EMPTY = "no such series"
    NO_DATA = "the target is not scraped"
    AHEAD = "the figures are of a later time than the clock says"
    NOT_A_NUMBER = "the value is not a number"


@dataclass(frozen=True)
class Look:
    """One look: for each service what its counters rose by since the look before, its gauges, and `restarts`.

    `gaps` has each service and source that gave nothing: "canary service" -> Gap. `since` is the time of the look before,
    None in evidence of older code. `anew` names each service and source whose counters do not go on from there.
    """

    at: float
    services: Mapping[str, Counters]
    gaps: Mapping[str, Gap] = field(default_factory=dict)
    since: float | None = None
    anew: Mapping[str, Anew] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        anew = {name: Anew(each) for name, each in told.get("anew", {}).items()}
        return cls(
            told["at"], told["services"], {name: Gap(gap) for name, gap in told["gaps"].items()}, told.get("since"), anew
        )


@dataclass(frozen=True)
class Evidence:
    """The looks of a bake of `candidate`, running `version`, compared with `baseline`, since `began` (seconds since 1970).

    `counters` are the last ones seen, by service and source, `until` their time. `outage`: why the last attempt got nothing.
    `watched`: what telemetry knows, where it is asked.
    """

    version: str
    began: float
    candidate: str = "canary"
    baseline: tuple[str, ...] = ("stable-1", "stable-2")
    looks: tuple[Look, ...] = ()
    counters: Mapping[str, Counters] = field(default_factory=dict)
    until: float | None = None
    outage: Gap | None = None
    watched: WatchedCounts | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "looks": [look.to_dict() for look in self.looks]}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        outage = None if told["outage"] is None else Gap(told["outage"])
        looks = tuple(map(Look.from_dict, told["looks"]))
        watched = None if told.get("watched") is None else WatchedCounts.from_dict(told["watched"])
        others = {"baseline": tuple(told["baseline"]), "looks": looks, "outage": outage, "watched": watched}
        return cls(**{**told, **others})


@dataclass(frozen=True)
class Sample:
    """What one source of one service showed at one time; `refused`: Prometheus cannot answer for that source."""

    counters: Counters
    gauges: Counters
    refused: bool = False

    @property
    def gap(self) -> Gap | None:
        """Why it cannot be used; None where it can."""
        if self.refused:
            return Gap.REFUSED
        if self.gauges.get("up") == 0:
            return Gap.NO_DATA
        if any(map(isnan, (*self.counters.values(), *self.gauges.values()))):
            return Gap.NOT_A_NUMBER
        return None if self.counters or set(self.gauges) - {"up"} else Gap.EMPTY


def with_look(evidence: Evidence, at: float, samples: Mapping[tuple[str, str], Sample]) -> Evidence:
    """The evidence with what was seen at `at`, by service and source. The first look of all is where counting begins."""
    services: dict[str, Counters] = {}
    gaps: dict[str, Gap] = {}
    anew: dict[str, Anew] = {}
    counters = {name: dict(last) for name, last in evidence.counters.items()}
    for (service, source), sample in samples.items():
        if sample.gap is not None:
            gaps[f"{service} {source}"] = sample.gap
            continue
        last = counters.setdefault(f"{service} {source}", {})
        risen = increases(last, sample)
        if sample.counters and (not last or began_anew(last, sample)):
            anew[f"{service} {source}"] = Anew.ZERO if last else Anew.UNKNOWN
        last.update(sample.counters | {name: sample.gauges[name] for name in SEEN & set(sample.gauges)})
        services[service] = services.get(service, {}) | risen
    looks = (*evidence.looks, Look(at, services, gaps, evidence.until, anew)) if evidence.until is not None else evidence.looks
    return replace(evidence, looks=looks, counters=counters, until=at, outage=None)


def increases(last: Counters, sample: Sample) -> Counters:
    """The rise of counters since `last`, the gauges, and `restarts` if the source names its start.

    A source that began anew counts from 0. A new series within a known source began at 0, except those that exist from the
    start. Of a source that was never seen nothing is known, and nothing counts.
    """
    anew = began_anew(last, sample)
    known = {name: 0.0 if last and name not in ALWAYS_TOLD else value for name, value in sample.counters.items()} | last
    risen = {name: value - (0.0 if anew else known[name]) for name, value in sample.counters.items()}
    gauges = {name: value for name, value in sample.gauges.items() if name not in SEEN}
    return risen | gauges | ({"restarts": float(anew)} if "seconds" in sample.counters or "started" in sample.gauges else {})


def began_anew(last: Counters, sample: Sample) -> bool:
    """Whether a source's counters count from 0 since `last`: one fell, or the source says that it was started."""
    fell = any(value < last.get(name, 0.0) for name, value in sample.counters.items())
    return fell or sample.gauges.get("started", 0.0) > last.get("started", inf) + 1.0


class Span(NamedTuple):
    """From when to when a source's counters rose, in seconds since 1970; `start` is None where they began at 0."""

    start: float | None
    end: float


def spans(evidence: Evidence, name: str, looks: Container[int]) -> tuple[Span, ...]:
    """When the counters of a service and source rose by what the looks with these numbers hold; each time once, in order."""
    found: list[Span] = []
    known: float | None = None
    for number, look in enumerate(evidence.looks):
        since, before = begin_of(evidence, number), evidence.looks[number - 1].at if number else None
        known = since if known is None or since != before else known
        if name in look.gaps:
            continue
        start = {Anew.ZERO: None, Anew.UNKNOWN: look.at}.get(look.anew[name]) if name in look.anew else known
        if number in looks and start != look.at:
            joined = found.pop() if found and found[-1].end == start else None
            found.append(Span(joined.start if joined else start, look.at))
        known = look.at
    return tuple(found)


def begin_of(evidence: Evidence, number: int) -> float:
    """The time from which a look counts. Evidence of older code tells only when it began, and the times of the looks."""
    if (since := evidence.looks[number].since) is not None:
        return since
    return evidence.looks[number - 1].at if number else min(evidence.began, evidence.looks[0].at)
