"""A bake as the measures read it: two sides, compared once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from auto_deployment.release.analysis.comparison import Limits, Side, compare, estimate
from auto_deployment.release.analysis.latency import SLOW_STEPS, edge_pair, first_slow_edge
from auto_deployment.release.analysis.observation_arrays import (
    edge_of,
    edges_of,
    increases_of,
    instances_of,
    keys_of,
    side_of,
    summed_increases,
)
from auto_deployment.release.analysis.queries import side_of_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.release.analysis.evidence import Evidence, MissingData
    from auto_deployment.release.analysis.sequential import Floats


class Bake:
    """Evidence as the measures read it: the candidate's side and the baseline's, compared once."""

    def __init__(self, evidence: Evidence, limits: Limits) -> None:
        self.evidence, self.limits = evidence, limits
        self.observations = evidence.observations
        self.edges = edges_of(self.observations)
        self.candidate = (evidence.candidate,)
        self.side = self._side(self.candidate)
        self.base = self._side(evidence.baseline)

    def _side(self, services: Sequence[str]) -> Side:
        return side_of(self.observations, services, self.edges)

    @cached_property
    def odds(self) -> dict[str, Floats]:
        """`compare`: logarithms after each observation; empty before there is anything to compare."""
        return compare(self.side, self.base, self.edges, self.limits) if len(self.edges) else {}

    @cached_property
    def now(self) -> dict[str, tuple[float, float, int, float]]:
        """The value, threshold, sample size and probability by chance of each test, at the last observation."""
        if not len(self.edges):
            return {}
        found = estimate(self.side, self.base, self.edges, self.limits)
        return {
            name: (float(each.value), float(each.threshold), int(each.count), float(each.chance))
            for name, each in found.items()
        }

    @property
    def slow_edge(self) -> float:
        """The edge in seconds above which an answer of the candidate is slow, at the last observation."""
        return float(self.edges[self._slow_pair[0]])

    @property
    def slow_edge_key(self) -> str | None:
        """The key of `slow_edge` in the evidence; None if the histogram has no edge for the comparison."""
        if not len(self.edges):
            return None
        high, usable = self._slow_pair
        keys = keys_of(self.observations, "le ") if usable else ()
        return next((key for key in keys if edge_of(key) == self.edges[high]), None)

    @property
    def _slow_pair(self) -> tuple[int, bool]:
        first = first_slow_edge(self.base.times)[..., -1]
        _, high, usable = edge_pair(first, SLOW_STEPS[0], self.edges, self.limits.max_slowdown)
        return int(high), bool(usable)

    def increases_by_service(self, key: str) -> list[Floats]:
        """The increases of a counter in each observation: the candidate's, then those of each service or pod of the baseline.

        NaN where a pod of the baseline was not there.
        """
        base = [name for side in self.evidence.baseline for name in instances_of(self.observations, side, key)]
        own = summed_increases(self.observations, self.candidate, key)
        return [own, *(increases_of(self.observations, name, key) for name in base)]

    def missing(self, source: str, *services: str) -> MissingData | None:
        """Why the last observation lacks data from a source of one of `services` or its pods; None where it has the data.

        Telemetry's counts are not part of an observation.
        """
        if source == "telemetry":
            return None
        if self.evidence.outage is not None or not self.observations:
            return self.evidence.outage
        missing = [(name.rpartition(" "), reason) for name, reason in self.observations[-1].missing.items()]
        of_source = [(side_of_name(name), reason) for (name, _, its), reason in missing if its == source]
        return next((reason for service in services for side, reason in of_source if side == service), None)
