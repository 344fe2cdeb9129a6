"""What is asked of a canary, as a table; each measure becomes a reading with value, threshold, sample size and a sentence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from math import exp, isfinite
from statistics import median
from typing import TYPE_CHECKING, Any

from auto_deployment.canary import arrays
from auto_deployment.canary.comparison import FALSE_ALARMS, Limits, Side, compare, estimate, needed
from auto_deployment.canary.queries import CLIENT, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auto_deployment.canary.evidence import Evidence, Gap
    from auto_deployment.canary.sequential import Floats

# Twice a baseline's memory through so many looks in a row is a leak, or another service.
MEMORY_RATIO = 2.0
MEMORY_LOOKS = 10


class Outcome(StrEnum):
    """What a measure says. Only WITHIN and TOLD let a canary pass; only WORSE fails it."""

    WITHIN = "within"
    WORSE = "worse"
    ABOVE = "above, not for certain"
    TOO_FEW = "too few"
    NO_DATA = "no data"
    TOLD = "told"


@dataclass(frozen=True)
class Reading:
    """One measure. `evidence` against health may reach `needed` (both as odds, where chance is judged)."""

    name: str
    outcome: Outcome
    value: float | None
    threshold: float | None
    unit: str
    sample: int
    query: str
    said: str
    evidence: float | None = None
    needed: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Bake:
    """Evidence as the measures see it: the candidate's side and the baseline's, compared once."""

    def __init__(self, evidence: Evidence, limits: Limits) -> None:
        self.evidence, self.limits = evidence, limits
        self.looks = evidence.looks
        self.edges = arrays.edges_of(self.looks)
        self.side = self._side((evidence.candidate,))
        self.base = self._side(evidence.baseline)

    def _side(self, services: Sequence[str]) -> Side:
        return arrays.side_of(self.looks, services, self.edges)

    @cached_property
    def odds(self) -> dict[str, Floats]:
        """`compare`: logarithms after each look; empty before there is anything to compare."""
        return compare(self.side, self.base, self.edges, self.limits) if len(self.edges) else {}

    @cached_property
    def now(self) -> dict[str, tuple[float, float, int]]:
        """Value, threshold and sample size of each test at the last look."""
        if not len(self.edges):
            return {}
        found = estimate(self.side, self.base, self.edges, self.limits)
        return {name: (float(each.value), float(each.threshold), int(each.count)) for name, each in found.items()}

    def gap(self, source: str, *services: str) -> Gap | None:
        """Why a source of one of `services` gave nothing at the last look, or why there was none; None where it did give."""
        if self.evidence.outage is not None or not self.looks:
            return self.evidence.outage
        gaps = self.looks[-1].gaps
        return next((gaps[name] for service in services if (name := f"{service} {source}") in gaps), None)


@dataclass(frozen=True)
class Measure:
    """A row of the table: what is measured, from which source of whom, and how it is read."""

    name: str
    unit: str
    key: str
    source: str
    read: Callable[[Measure, Bake], Reading]

    def reading(self, outcome: Outcome, said: str, value: float | None = None, **known: Any) -> Reading:  # noqa: ANN401
        """A reading of this measure."""
        return Reading(
            self.name,
            outcome,
            value,
            known.get("threshold"),
            self.unit,
            known.get("sample", 0),
            text_of(self.key),
            said,
            known.get("evidence"),
            known.get("needed"),
        )


def read(measure: Measure, bake: Bake) -> Reading:
    """A measure's reading; where its source has a gap it says which, unless it has been found worse before."""
    gap = bake.gap(measure.source, *_asked(measure, bake.evidence))
    found = measure.read(measure, bake)
    if gap is None or found.outcome == Outcome.WORSE:
        return found
    return measure.reading(Outcome.NO_DATA, f"{measure.name}: no figures, {gap}", found.value, sample=found.sample)


def _asked(measure: Measure, evidence: Evidence) -> tuple[str, ...]:
    return (CLIENT,) if measure.read is _client else (evidence.candidate, *evidence.baseline)


def _tested(measure: Measure, bake: Bake) -> Reading:
    """A measure that chance is judged of: worse when the evidence ever reached what is needed."""
    if measure.name not in bake.now:
        return measure.reading(Outcome.TOO_FEW, f"{measure.name}: nothing was counted yet")
    value, threshold, sample = bake.now[measure.name]
    if not isfinite(value):
        return measure.reading(Outcome.TOO_FEW, f"{measure.name}: nothing was counted yet", sample=sample)
    log_odds = float(bake.odds[measure.name].max(initial=0.0))
    if log_odds >= needed(measure.name):
        outcome = Outcome.WORSE
    elif sample < bake.limits.min_requests:
        outcome = Outcome.TOO_FEW
    else:
        outcome = Outcome.WITHIN if _keeps(measure.name, value, threshold) else Outcome.ABOVE
    said = SENTENCES[measure.name](bake, value, threshold, sample)
    odds, least = exp(min(log_odds, 700.0)), 1 / FALSE_ALARMS[measure.name]
    return measure.reading(outcome, said, value, threshold=threshold, sample=sample, evidence=odds, needed=least)


def _keeps(name: str, value: float, threshold: float) -> bool:
    return value < threshold if name == "mean" else value <= threshold


def _mean(bake: Bake, value: float, threshold: float, sample: int) -> str:  # noqa: ARG001 - all sentences are made alike
    return f"mean {1000 * value:.4g} ms, limit {1000 * threshold:g} ms"


def _slowdown(bake: Bake, value: float, threshold: float, sample: int) -> str:  # noqa: ARG001
    return f"mean {value:.3g} times that of {_baseline(bake)}, limit {threshold:g}"


def _slow(bake: Bake, value: float, threshold: float, sample: int) -> str:  # noqa: ARG001
    return f"{value:.3%} slow answers, by {_baseline(bake)} at most {threshold:.3%}"


def _errors(bake: Bake, value: float, threshold: float, sample: int) -> str:
    tries, failures = bake.side.tries.sum(), bake.side.failures.sum()
    share = 1 - failures / tries if tries else float("nan")
    return (
        f"success per try {share:.3%} ({failures:.0f} of {tries:.0f} failed), {100 * value:+.3g} points of errors beside "
        f"{_baseline(bake)}, limit {100 * threshold:g} points (sample {sample})"
    )


def _baseline(bake: Bake) -> str:
    return " and ".join(bake.evidence.baseline)


SENTENCES: dict[str, Callable[[Bake, float, float, int], str]] = {
    "mean": _mean,
    "slowdown": _slowdown,
    "slow answers": _slow,
    "errors": _errors,
}


def _client(measure: Measure, bake: Bake) -> Reading:
    """What clients saw of all services together: told beside the tries, as retries hide a sick canary from it."""
    answers = {
        status: sum(look.services.get(CLIENT, {}).get(f"answer {status}", 0.0) for look in bake.looks)
        for status in ("2xx", "3xx", "4xx", "5xx")
    }
    count = sum(answers.values())
    share = 1 - answers["5xx"] / count if count else None
    said = f"clients: {answers['5xx']:.0f} of {count:.0f} answers failed" if count else "clients: no answer was counted"
    return measure.reading(Outcome.TOLD, said, share, sample=int(count))


def _restarts(measure: Measure, bake: Bake) -> Reading:
    """Any restart is a crash: nobody restarts a canary in its bake."""
    seen = arrays.gauge_of(bake.looks, bake.evidence.candidate, "restarts")
    if not seen:
        return measure.reading(Outcome.TOO_FEW, "restarts: no look has told yet", threshold=0.0)
    count = sum(seen)
    outcome = Outcome.WORSE if count else Outcome.WITHIN
    return measure.reading(outcome, f"{count:.0f} restarts, limit 0", count, threshold=0.0, sample=len(seen))


def _memory(measure: Measure, bake: Bake) -> Reading:
    """Above the threshold in each of the last looks."""
    own = arrays.gauge_of(bake.looks, bake.evidence.candidate, "memory")[-MEMORY_LOOKS:]
    others = [arrays.gauge_of(bake.looks, name, "memory")[-MEMORY_LOOKS:] for name in bake.evidence.baseline]
    usual = max((median(each) for each in others if each), default=None)
    if not own or not usual:
        return measure.reading(Outcome.TOO_FEW, "memory: no look has told yet")
    threshold = MEMORY_RATIO * usual
    value = min(own)
    worse = len(own) == MEMORY_LOOKS and value > threshold
    said = f"memory {own[-1] / 2**20:.0f} MiB, limit {threshold / 2**20:.0f} MiB in each of {MEMORY_LOOKS} looks"
    outcome = Outcome.WORSE if worse else Outcome.WITHIN
    return measure.reading(outcome, said, own[-1], threshold=threshold, sample=len(own))


MEASURES = (
    Measure("mean", "s", "seconds", "service", _tested),
    Measure("slowdown", "ratio", "seconds", "service", _tested),
    Measure("slow answers", "share", "le {le}", "service", _tested),
    Measure("errors", "share", "try {outcome}", "mtail", _tested),
    Measure("client", "share", "answer {status_class}", "mtail", _client),
    Measure("restarts", "restarts", "started", "service", _restarts),
    Measure("memory", "bytes", "memory", "cadvisor", _memory),
)
