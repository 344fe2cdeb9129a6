"""The result of a shadow: a version's answers to recorded requests, compared with those of the version in service. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.release.analysis.comparison import Limits
    from auto_deployment.release.probe import ProbeAnswer

# A shadow is one short run on a busy machine: only a clearly worse version is refused; the bake finds the rest.
ROOM = 1.5
# A smaller difference matters to no client.
LEAST_SECONDS = 0.002
# The share of users who got a list of their own before, and get the popular list now.
MAX_MORE_COLLAPSED = 0.2
LISTS_COMPARED = 10


@dataclass(frozen=True)
class AnswerMetrics:
    """Of `requests`: shares that failed and that got the bare popular list, mean and 99th percentile in seconds."""

    requests: int
    failed: float
    collapsed: float
    mean: float
    p99: float


@dataclass(frozen=True)
class ShadowResult:
    """The version's metrics and those of the version in service.

    `overlap` is the mean share of the first ten films that both give.
    """

    candidate: AnswerMetrics
    stable: AnswerMetrics
    overlap: float
    source: str
    reasons: tuple[str, ...]

    def summary(self) -> str:
        """The result in one line."""
        one, other = self.candidate, self.stable
        return (
            f"{one.requests} requests ({self.source}): mean {one.mean * 1000:.1f} ms (in service {other.mean * 1000:.1f}), "
            f"{one.failed:.2%} failed ({other.failed:.2%}), {one.collapsed:.1%} popular lists ({other.collapsed:.1%}), "
            f"overlap {self.overlap:.0%}"
        )


def compare_answers(
    candidate: Sequence[ProbeAnswer],
    stable: Sequence[ProbeAnswer],
    popular: tuple[tuple[str, ...], ...],
    source: str,
    limits: Limits,
) -> ShadowResult:
    """Compare both sides' answers to the same users. `popular`: the list that each side gives to an unknown user."""
    one, other = metrics_of(candidate, popular[0]), metrics_of(stable, popular[1])
    return ShadowResult(one, other, mean_overlap(candidate, stable), source, tuple(refusal_reasons(one, other, limits)))


def metrics_of(answers: Sequence[ProbeAnswer], popular: tuple[str, ...]) -> AnswerMetrics:
    """The metrics of one side's answers."""
    count = len(answers)
    seconds = sorted(each.seconds for each in answers)
    failed = sum(not each.films for each in answers)
    collapsed = sum(each.films == popular for each in answers if each.films)
    return AnswerMetrics(
        requests=count,
        failed=failed / count,
        collapsed=collapsed / max(1, count - failed),
        mean=sum(seconds) / count,
        p99=seconds[min(count - 1, int(0.99 * count))],
    )


def mean_overlap(candidate: Sequence[ProbeAnswer], stable: Sequence[ProbeAnswer]) -> float:
    """The mean share of a user's first ten films that both sides give. Only reported: a new version may differ."""
    other = {each.user: set(each.films[:LISTS_COMPARED]) for each in stable if each.films}
    shares = [
        len(other[each.user].intersection(each.films[:LISTS_COMPARED])) / len(other[each.user])
        for each in candidate
        if each.films and each.user in other
    ]
    return sum(shares) / len(shares) if shares else 0.0


def refusal_reasons(one: AnswerMetrics, other: AnswerMetrics, limits: Limits) -> list[str]:
    """Why the version is refused, each with value and limit; empty where it may go on."""
    slowest = max(other.mean * limits.max_slowdown * ROOM, other.mean + LEAST_SECONDS)
    checks = (
        (one.mean, limits.max_mean, "shadow mean {0:.4g} ms, limit {1:.4g} ms", 1000.0),
        (one.mean, slowest, "shadow mean {0:.4g} ms, limit {1:.4g} ms, from the version in service", 1000.0),
        (one.failed, other.failed + limits.max_error_increase, "shadow errors {0:.3g} %, limit {1:.3g} %", 100.0),
        (one.collapsed, other.collapsed + MAX_MORE_COLLAPSED, "shadow: {0:.3g} % popular lists, limit {1:.3g} %", 100.0),
    )
    return [text.format(value * scale, limit * scale) for value, limit, text, scale in checks if value > limit]
