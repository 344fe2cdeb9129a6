"""A measure, and what it says of a bake: value, threshold, query, sample size, outcome and a sentence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from auto_deployment.canary.queries import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from auto_deployment.canary.bake import Bake


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


@dataclass(frozen=True)
class Measure:
    """A row of the table: what is measured, from which source of whom, and how it is read."""

    name: str
    unit: str
    key: str
    source: str
    read: Callable[[Measure, Bake], Reading]
    of_clients: bool = False

    def reading(self, outcome: Outcome, said: str, value: float | None = None, **known: Any) -> Reading:  # noqa: ANN401 - fields of Reading
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
