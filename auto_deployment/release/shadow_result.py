"""The result of a shadow: a version's answers to recorded requests, compared with those of the version in service. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.release.analysis.comparison import Limits
    from auto_deployment.release.probe import Asked

# A shadow is one short run on a machine that does other things: only what is clearly worse is refused, the bake finds the rest.
ROOM = 1.5
# And never for a difference that no client could tell.
LEAST_SECONDS = 0.002
# Users who got a list of their own before, and the popular one now.
MAX_MORE_COLLAPSED = 0.2
LISTS_COMPARED = 10


@dataclass(frozen=True)
class Figures:
    """Of `requests`: shares that failed and that got the bare popular list, mean and 99th percentile in seconds."""

    requests: int
    failed: float
    collapsed: float
    mean: float
    p99: float


@dataclass(frozen=True)
class Shadow:
    """The version's figures and those of the version in service.

    `overlap` is the mean share of the first ten films that both give.
    """

    candidate: Figures
    stable: Figures
    overlap: float
    source: str
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def said(self) -> str:
        """In a line."""
        one, other = self.candidate, self.stable
        return (
            f"{one.requests} requests ({self.source}): mean {one.mean * 1000:.1f} ms (in service {other.mean * 1000:.1f}), "
            f"{one.failed:.2%} failed ({other.failed:.2%}), {one.collapsed:.1%} popular lists ({other.collapsed:.1%}), "
            f"overlap {self.overlap:.0%}"
        )


def compared(
    asked: Sequence[Asked], stable: Sequence[Asked], popular: tuple[tuple[str, ...], ...], source: str, limits: Limits
) -> Shadow:
    """Both sides' answers to the same users; `popular`: the list that a stranger gets of each."""
    one, other = figures_of(asked, popular[0]), figures_of(stable, popular[1])
    return Shadow(one, other, overlap_of(asked, stable), source, tuple(reasons_of(one, other, limits)))


def figures_of(asked: Sequence[Asked], popular: tuple[str, ...]) -> Figures:
    """One side's."""
    count = len(asked)
    seconds = sorted(each.seconds for each in asked)
    failed = sum(not each.films for each in asked)
    collapsed = sum(each.films == popular for each in asked if each.films)
    return Figures(
        count,
        failed / count,
        collapsed / max(1, count - failed),
        sum(seconds) / count,
        seconds[min(count - 1, int(0.99 * count))],
    )


def overlap_of(asked: Sequence[Asked], stable: Sequence[Asked]) -> float:
    """The mean share of a user's first ten films that both sides give; reported, never judged: a new version may differ."""
    other = {each.user: set(each.films[:LISTS_COMPARED]) for each in stable if each.films}
    shares = [
        len(other[each.user].intersection(each.films[:LISTS_COMPARED])) / len(other[each.user])
        for each in asked
        if each.films and each.user in other
    ]
    return sum(shares) / len(shares) if shares else 0.0


def reasons_of(one: Figures, other: Figures, limits: Limits) -> list[str]:
    """Why the version is refused, each with value and limit; empty where it may go on."""
    slowest = max(other.mean * limits.max_slowdown * ROOM, other.mean + LEAST_SECONDS)
    checks = (
        (one.mean, limits.max_mean, "shadow mean {0:.4g} ms, limit {1:.4g} ms", 1000.0),
        (one.mean, slowest, "shadow mean {0:.4g} ms, limit {1:.4g} ms, from the version in service", 1000.0),
        (one.failed, other.failed + limits.max_error_increase, "shadow errors {0:.3g} %, limit {1:.3g} %", 100.0),
        (one.collapsed, other.collapsed + MAX_MORE_COLLAPSED, "shadow: {0:.3g} % popular lists, limit {1:.3g} %", 100.0),
    )
    return [text.format(value * scale, limit * scale) for value, limit, text, scale in checks if value > limit]
