"""The A/A self-test: one stable service compared with another by the same rules, and how often that was a false alarm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from auto_deployment.common.intervals import wilson
from auto_deployment.release.analysis.comparison import FALSE_ALARMS, WATCHED_FALSE_ALARMS
from auto_deployment.release.analysis.readings import Outcome
from auto_deployment.release.analysis.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auto_deployment.release.analysis.comparison import Limits
    from auto_deployment.release.analysis.evidence import Evidence
    from auto_deployment.release.analysis.verdict import Verdict

PROMISE = sum(FALSE_ALARMS.values()) + WATCHED_FALSE_ALARMS


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval."""

    hits: int
    count: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """Hits over count; None of nothing."""
        return self.hits / self.count if self.count else None

    def __str__(self) -> str:
        return f"{self.hits} of {self.count} ({self.low:.1%} to {self.high:.1%})"


def self_test(evidence: Evidence, limits: Limits, minutes: float) -> Verdict:
    """The last stable service compared with the first, over the bake's observations. Telemetry knows tracks, not services."""
    other, *_, last = evidence.baseline
    pair = replace(evidence, candidate=last, baseline=(other,), version="")
    return verdict(pair, replace(limits, watched="off"), minutes)


def is_false_alarm(tested: Verdict) -> bool:
    """Whether a self-test found one of two equals worse by chance. A crash of a stable service is no false alarm."""
    return any(each.outcome == Outcome.WORSE and each.name in FALSE_ALARMS for each in tested.readings)


def false_alarm_rate(alarms: Iterable[bool]) -> Rate:
    """The rate over all self-tests, however long each lasted: the promise holds at any time."""
    results = list(alarms)
    return wilson_rate(sum(results), len(results))


def wilson_rate(hits: int, count: int) -> Rate:
    """The rate of `hits` among `count` cases, with Wilson's interval."""
    return Rate(hits, count, *wilson(hits / count if count else 0.0, count))
