"""What is known of a bake: a row for each look, as JSON can hold it, so that whoever resumes a bake has the same evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from math import inf, isnan
from typing import TYPE_CHECKING, Any, Self

from auto_deployment.canary.viewers import Watched

if TYPE_CHECKING:
    from collections.abc import Mapping

Counters = dict[str, float]
# Gauges that say that a source is there, even before its first counter.
SEEN = {"started", "up"}
# Told of from a service's start on: where they are new, it is the asking that is new.
ALWAYS_TOLD = {"exits"}


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

    `gaps` tells of each service and source that gave nothing: "canary service" -> Gap.
    """

    at: float
    services: Mapping[str, Counters]
    gaps: Mapping[str, Gap] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(told["at"], told["services"], {name: Gap(gap) for name, gap in told["gaps"].items()})


@dataclass(frozen=True)
class Evidence:
    """The looks of a bake of `candidate`, running `version`, beside `baseline`, since `began` (seconds since 1970).

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
    watched: Watched | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "looks": [look.to_dict() for look in self.looks]}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        outage = None if told["outage"] is None else Gap(told["outage"])
        looks = tuple(map(Look.from_dict, told["looks"]))
        watched = None if told.get("watched") is None else Watched.from_dict(told["watched"])
        others = {"baseline": tuple(told["baseline"]), "looks": looks, "outage": outage, "watched": watched}
        return cls(**{**told, **others})


@dataclass(frozen=True)
class Sample:
    """What one source of one service showed at one time."""

    counters: Counters
    gauges: Counters

    @property
    def gap(self) -> Gap | None:
        """Why it cannot be used; None where it can."""
        if self.gauges.get("up") == 0:
            return Gap.NO_DATA
        if any(map(isnan, (*self.counters.values(), *self.gauges.values()))):
            return Gap.NOT_A_NUMBER
        return None if self.counters or set(self.gauges) - {"up"} else Gap.EMPTY


def with_look(evidence: Evidence, at: float, samples: Mapping[tuple[str, str], Sample]) -> Evidence:
    """The evidence with what was seen at `at`, by service and source. The first look of all is where counting begins."""
    services: dict[str, Counters] = {}
    gaps: dict[str, Gap] = {}
    counters = {name: dict(last) for name, last in evidence.counters.items()}
    for (service, source), sample in samples.items():
        if sample.gap is not None:
            gaps[f"{service} {source}"] = sample.gap
            continue
        last = counters.setdefault(f"{service} {source}", {})
        risen = increases(last, sample)
        last.update(sample.counters | {name: sample.gauges[name] for name in SEEN & set(sample.gauges)})
        services[service] = services.get(service, {}) | risen
    looks = (*evidence.looks, Look(at, services, gaps)) if evidence.until is not None else evidence.looks
    return replace(evidence, looks=looks, counters=counters, until=at, outage=None)


def increases(last: Counters, sample: Sample) -> Counters:
    """What counters rose by since `last`, the gauges, and `restarts` where the source tells of its start.

    A source that began anew counts from 0. A series that is new within a known source began at 0, but for those that are
    always told; of a source that was never seen nothing is known, and nothing counts.
    """
    fell = any(value < last.get(name, 0.0) for name, value in sample.counters.items())
    anew = fell or sample.gauges.get("started", 0.0) > last.get("started", inf) + 1.0
    known = {name: 0.0 if last and name not in ALWAYS_TOLD else value for name, value in sample.counters.items()} | last
    risen = {name: value - (0.0 if anew else known[name]) for name, value in sample.counters.items()}
    gauges = {name: value for name, value in sample.gauges.items() if name not in SEEN}
    return risen | gauges | ({"restarts": float(anew)} if "seconds" in sample.counters or "started" in sample.gauges else {})
