"""The verdict on a bake from its evidence, the limits and the time: pass, fail, inconclusive, or continue baking. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from auto_deployment.release.analysis.bake_view import Bake
from auto_deployment.release.analysis.measures import MEASURES, read
from auto_deployment.release.analysis.readings import Outcome, Reading

if TYPE_CHECKING:
    from auto_deployment.release.analysis.comparison import Limits
    from auto_deployment.release.analysis.evidence import Evidence


class Decision(StrEnum):
    """How a bake ends; BAKING: not yet."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    BAKING = "baking"


EXIT_STATUS = {Decision.PASS: 0, Decision.FAIL: 3, Decision.INCONCLUSIVE: 4}


@dataclass(frozen=True)
class Verdict:
    """The judgement of a bake after `minutes`, with each measure's reading."""

    decision: Annotated[Decision, Field(alias="end")]
    minutes: float
    readings: tuple[Reading, ...]

    @property
    def reasons(self) -> list[str]:
        """Why the bake does not pass: the measures that are worse; without one, each measure that delays the pass."""
        worse = [each.message for each in self.readings if each.outcome == Outcome.WORSE]
        return worse or [f"{each.message} ({each.outcome})" for each in self.readings if not each.lets_pass]

    @property
    def missing(self) -> list[str]:
        """The advisory measures without enough data. They delay nothing."""
        return [f"{each.message} ({each.outcome}, advisory)" for each in self.readings if each.is_missing and not each.required]

    @property
    def status(self) -> int | None:
        """The exit status; None while it bakes."""
        return EXIT_STATUS.get(self.decision)


def verdict(evidence: Evidence, limits: Limits, minutes: float) -> Verdict:
    """The verdict on a bake after `minutes`.

    A worse measure fails the bake at once. From `bake_minutes` on, the bake passes if every required measure has enough data
    and every known measure keeps its threshold. Otherwise it continues until `max_bake_minutes`, and is then inconclusive.
    Missing data never fail a bake. An advisory measure without data delays nothing.
    """
    bake = Bake(evidence, limits)
    readings = tuple(_ended(read(measure, bake), limits, minutes) for measure in MEASURES if measure.is_on(limits))
    if any(each.outcome == Outcome.WORSE for each in readings):
        return Verdict(Decision.FAIL, minutes, readings)
    if minutes >= limits.bake_minutes and all(each.lets_pass for each in readings):
        return Verdict(Decision.PASS, minutes, readings)
    return Verdict(Decision.INCONCLUSIVE if minutes >= limits.max_bake_minutes else Decision.BAKING, minutes, readings)


def _ended(reading: Reading, limits: Limits, minutes: float) -> Reading:
    """The fixed rule at the bake's end: the mean of all answers is below its limit, or the version is worse."""
    if reading.name == "mean" and reading.outcome == Outcome.ABOVE and minutes >= limits.bake_minutes:
        return replace(reading, outcome=Outcome.WORSE)
    return reading
