"""A Prometheus of ours: it answers the verdict's queries from counters that a test has made."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import TypeAdapter

from auto_deployment.common.json_file import to_json
from auto_deployment.common.prometheus import QueryError, Series
from auto_deployment.release.analysis.queries import PODS, SERVICES, queries_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.releases import Service

Typed = TypeVar("Typed")

BEGAN = 1_700_000_000.0
STEP = 60.0
VERSION = "7"
NAMES = {query.text: f"{query.source} {query.key}" for labels in (SERVICES, PODS) for query in queries_by(labels)}
LABELS = {"le": "le {le}", "outcome": "try {outcome}", "status_class": "answer {status_class}"}


@dataclass
class Scrapes:
    """Series by "source key" of the query; a test may take some away, change them, or have some questions or all fail."""

    series: dict[str, list[Series]] = field(default_factory=lambda: {name: [] for name in NAMES.values()})
    failure: Exception | None = None
    refused: str = ""
    asked: list[tuple[float, float]] = field(default_factory=list)

    def add(self, name: str, values: Mapping[float, float], **labels: str) -> None:
        """One more series of a query."""
        self.series[name].append(Series(labels, dict(values)))

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """As Prometheus: the values at the steps, of the series that have any there."""
        if self.failure is not None:
            raise self.failure
        self.asked.append((start, end))
        times = {start + number * step for number in range(int((end - start) / step + 1e-6) + 1)}
        name = NAMES[query]
        if self.refused and name.startswith(self.refused):
            raise QueryError(f"{name}: found duplicate series")
        found = [
            Series(each.labels, {at: value for at, value in each.values.items() if at in times}) for each in self.series[name]
        ]
        return [each for each in found if each.values]


def scrapes_of(services: Mapping[str, Service], edges: np.ndarray, release: int = 0) -> Scrapes:
    """A simulated release as counters that began long before the bake."""
    found = Scrapes()
    for name, service in services.items():
        version = VERSION if name == "canary" else "6"
        known = {"service": name, "version": version}
        count = service.answers[release]
        for edge, over in zip(edges, service.over[:, release], strict=True):
            found.add("service le {le}", counted(count - over), le=f"{edge:g}", **known)
        found.add("service le {le}", counted(count), le="+Inf", **known)
        found.add("service seconds", counted(service.seconds[release]), **known)
        found.add(
            "mtail try {outcome}", counted(service.tries[release] - service.failures[release]), service=name, outcome="2xx"
        )
        found.add("mtail try {outcome}", counted(service.failures[release]), service=name, outcome="5xx")
        observations = len(count) + 1
        started = np.concatenate([[0.0], np.cumsum(service.restarts[release])]) * 3600
        found.add("service started", timed(BEGAN - 1e6 + started), **known)
        found.add("service exits", timed(np.full(observations, 2.0)), **known)
        found.add("service up", timed(np.ones(observations)), service=name)
        found.add("cadvisor memory", timed(np.full(observations, 1e8)), service=name)
    found.add("mtail up", timed(np.ones(observations)))
    found.add(
        "mtail answer {status_class}",
        counted(np.sum([each.tries[release] for each in services.values()], axis=0)),
        status_class="2xx",
    )
    return found


@dataclass(frozen=True)
class Life:
    """A pod with the share of a service's traffic, from its first observation to its last one."""

    pod: str
    service: str
    first: int = 0
    last: int = 10**6

    def values(self, values: Mapping[float, float], *, counter: bool) -> dict[float, float]:
        """What this pod shows of a series: a counter begins at 0 with the pod."""
        begin, end = BEGAN + self.first * STEP, BEGAN + self.last * STEP
        before = values.get(begin, 0.0) if counter else 0.0
        return {at: value - before for at, value in values.items() if begin <= at <= end}


def pods_of(scrapes: Scrapes, services: Sequence[Life], nginx: Sequence[Life]) -> Scrapes:
    """The same traffic by anonymous pods of services and of NGINX. A pod and its successor share one observation."""
    found = Scrapes()
    for name, series in scrapes.series.items():
        shared, counter = name.startswith("mtail"), "{" in name or name.endswith(("seconds", "exits"))
        summed: dict[tuple[tuple[str, str], ...], dict[float, float]] = {}
        for life in nginx if shared else services:
            for each in series:
                service = each.labels.get("service")
                if not shared and service != life.service:
                    continue
                labels = {key: value for key, value in each.labels.items() if key != "service"} | {"pod": life.pod}
                if service is not None and not name.endswith("up"):
                    labels["track"] = service.partition("-")[0]
                values = life.values(each.values, counter=counter)
                if name == "service started":
                    values = dict.fromkeys(values, BEGAN + life.first * STEP - 30.0)
                former = summed.setdefault(tuple(sorted(labels.items())), dict.fromkeys(values, 0.0))
                former |= {at: former[at] + value for at, value in values.items()}
        for known, values in summed.items():
            found.add(name, values, **dict(known))
    return found


def counted(increments: np.ndarray, before: float = 1000.0) -> dict[float, float]:
    """A counter that stood at `before` as the bake began."""
    return timed(before + np.concatenate([[0.0], np.cumsum(increments)]))


def timed(values: np.ndarray) -> dict[float, float]:
    """Values at the bake's beginning and at each observation after it."""
    return {BEGAN + number * STEP: float(value) for number, value in enumerate(values)}


def through_json(value: Typed) -> Typed:
    """The value after it was written as JSON and read again."""
    again: Typed = TypeAdapter(type(value)).validate_python(json.loads(json.dumps(to_json(value))))
    return again
