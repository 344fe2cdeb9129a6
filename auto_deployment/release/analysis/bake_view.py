"""A bake as the measures see it: two sides, compared once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from auto_deployment.release.analysis.comparison import Limits, Side, compare, estimate
from auto_deployment.release.analysis.latency import SLOW_STEPS, edge_pair, first_slow_edge
from auto_deployment.release.analysis.look_arrays import edge_of, edges_of, keys_of, risen, side_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.release.analysis.evidence import Evidence, Gap
    from auto_deployment.release.analysis.sequential import Floats


class Bake:
    """Evidence as the measures see it: the candidate's side and the baseline's, compared once."""

    def __init__(self, evidence: Evidence, limits: Limits) -> None:
        self.evidence, self.limits = evidence, limits
        self.looks = evidence.looks
        self.edges = edges_of(self.looks)
        self.candidate = (evidence.candidate,)
        self.side = self._side(self.candidate)
        self.base = self._side(evidence.baseline)

    def _side(self, services: Sequence[str]) -> Side:
        return side_of(self.looks, services, self.edges)

    @cached_property
    def odds(self) -> dict[str, Floats]:
        """`compare`: logarithms after each look; empty before there is anything to compare."""
        return compare(self.side, self.base, self.edges, self.limits) if len(self.edges) else {}

    @cached_property
    def now(self) -> dict[str, tuple[float, float, int, float]]:
        """Value, threshold, sample size and the probability of chance of each test at the last look."""
        if not len(self.edges):
            return {}
        found = estimate(self.side, self.base, self.edges, self.limits)
        return {
            name: (float(each.value), float(each.threshold), int(each.count), float(each.chance))
            for name, each in found.items()
        }

    @property
    def slow_edge(self) -> float:
        """In seconds: what a candidate's slow answers exceed, as things stand at the last look."""
        return float(self.edges[self._slow_pair[0]])

    @property
    def slow_edge_key(self) -> str | None:
        """The same edge as the evidence spells it; None where the baseline's slowest answers leave no edge to compare."""
        if not len(self.edges):
            return None
        high, usable = self._slow_pair
        return next((key for key in keys_of(self.looks, "le ") if edge_of(key) == self.edges[high]), None) if usable else None

    @property
    def _slow_pair(self) -> tuple[int, bool]:
        first = first_slow_edge(self.base.times)[..., -1]
        _, high, usable = edge_pair(first, SLOW_STEPS[0], self.edges, self.limits.max_slowdown)
        return int(high), bool(usable)

    def risen_by_service(self, key: str) -> list[Floats]:
        """What a counter rose by in each look: the candidate's, then those of each service of the baseline."""
        return [risen(self.looks, (name,), key) for name in (self.evidence.candidate, *self.evidence.baseline)]

    def gap(self, source: str, *services: str) -> Gap | None:
        """Why a source of one of `services` gave nothing at the last look, or why there was none; None where it did give.

        What telemetry knows is no part of a look.
        """
        if source == "telemetry":
            return None
        if self.evidence.outage is not None or not self.looks:
            return self.evidence.outage
        gaps = self.looks[-1].gaps
        return next((gaps[name] for service in services if (name := f"{service} {source}") in gaps), None)
