"""A measure and its reading of a bake: value, threshold, query, sample size, outcome and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import Callable

    from auto_deployment.release.analysis.bake_view import Bake
    from auto_deployment.release.analysis.comparison import Limits


class Outcome(StrEnum):
    """The result of a measure. WITHIN and REPORTED let a canary pass, and only WORSE fails it.

    TOO_FEW and NO_DATA delay a canary only if the measure is required.
    """

    WITHIN = "within"
    WORSE = "worse"
    ABOVE = "above, not for certain"
    TOO_FEW = "too few"
    NO_DATA = "no data"
    REPORTED = "told"


@dataclass(frozen=True)
class Reading:
    """One measure. `evidence`: the odds against the canary. `needed`: the odds that fail it. Both are None without a test.

    `query`: PromQL that gives `value` at any later time; empty before the first observation. `required`: the verdict needs it.
    """

    name: str
    outcome: Outcome
    value: float | None
    threshold: float | None
    unit: str
    sample: int
    query: str
    message: Annotated[str, Field(alias="said")]
    evidence: float | None = None
    needed: float | None = None
    required: bool = True

    @property
    def is_missing(self) -> bool:
        """Whether there are no data, or too few."""
        return self.outcome in {Outcome.NO_DATA, Outcome.TOO_FEW}

    @property
    def lets_pass(self) -> bool:
        """Whether this measure allows a promotion."""
        return self.outcome in {Outcome.WITHIN, Outcome.REPORTED} or (self.is_missing and not self.required)


@dataclass(frozen=True)
class Measure:
    """A row of the table: name, unit, source, the function that reads the measure, and the one that makes its query.

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
        """Whether the limits switch the measure on."""
        return self.setting is None or getattr(limits, self.setting) != "off"

    def is_required(self, limits: Limits) -> bool:
        """Whether missing data of this measure delays a promotion."""
        return self.setting is None or getattr(limits, self.setting) == "require"

    def reading(self, outcome: Outcome, message: str, value: float | None = None, **known: Any) -> Reading:  # noqa: ANN401 - fields of Reading
        """A reading of this measure."""
        fields = {"threshold": None, "sample": 0, **known}
        return Reading(name=self.name, outcome=outcome, value=value, unit=self.unit, query="", message=message, **fields)
