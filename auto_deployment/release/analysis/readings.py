"""A measure, and what it says of a bake: value, threshold, query, sample size, outcome and a sentence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from auto_deployment.release.analysis.bake_view import Bake
    from auto_deployment.release.analysis.comparison import Limits


class Outcome(StrEnum):
    """What a measure says. WITHIN and TOLD let a canary pass, and only WORSE fails it.

    TOO_FEW and NO_DATA hold up a canary where the measure is required, and only there.
    """

    WITHIN = "within"
    WORSE = "worse"
    ABOVE = "above, not for certain"
    TOO_FEW = "too few"
    NO_DATA = "no data"
    TOLD = "told"


@dataclass(frozen=True)
class Reading:
    """One measure. `evidence` against health may reach `needed` (both as odds, where chance is judged).

    `query`: PromQL that gives `value` at any later time; empty before the first look. `required`: the measure must be known.
    """

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
    required: bool = True

    @property
    def is_missing(self) -> bool:
        """Whether nothing, or too little, is known."""
        return self.outcome in {Outcome.NO_DATA, Outcome.TOO_FEW}

    @property
    def lets_pass(self) -> bool:
        """Whether a canary may be promoted as far as this measure goes."""
        return self.outcome in {Outcome.WITHIN, Outcome.TOLD} or (self.is_missing and not self.required)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Measure:
    """A row of the table: what is measured, from which source of whom, how it is read, and the query that gives its value.

    `setting` names the field of `Limits` that says `off`, `judge` or `require`. A measure without one is always required.
    """

    name: str
    unit: str
    source: str
    read: Callable[[Measure, Bake], Reading]
    query: Callable[[Bake], str]
    setting: str | None = None
    of_clients: bool = False

    def is_on(self, limits: Limits) -> bool:
        """Whether it is read at all."""
        return self.setting is None or getattr(limits, self.setting) != "off"

    def is_required(self, limits: Limits) -> bool:
        """Whether a canary is held up while it is not known."""
        return self.setting is None or getattr(limits, self.setting) == "require"

    def reading(self, outcome: Outcome, said: str, value: float | None = None, **known: Any) -> Reading:  # noqa: ANN401 - fields of Reading
        """A reading of this measure."""
        return Reading(
            self.name,
            outcome,
            value,
            known.get("threshold"),
            self.unit,
            known.get("sample", 0),
            "",
            said,
            known.get("evidence"),
            known.get("needed"),
        )
