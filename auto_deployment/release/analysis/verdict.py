"""The verdict: what is known of a bake, the limits and the time -> pass, fail, inconclusive, or go on baking. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from auto_deployment.release.analysis.bake_view import Bake
from auto_deployment.release.analysis.measures import MEASURES, read
from auto_deployment.release.analysis.readings import Outcome

if TYPE_CHECKING:
    from auto_deployment.release.analysis.comparison import Limits
    from auto_deployment.release.analysis.evidence import Evidence
    from auto_deployment.release.analysis.readings import Reading


class End(StrEnum):
    """How a bake ends; BAKING: not yet."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    BAKING = "baking"


EXIT_STATUS = {End.PASS: 0, End.FAIL: 3, End.INCONCLUSIVE: 4}


@dataclass(frozen=True)
class Verdict:
    """The judgement of a bake after `minutes`, with each measure's reading."""

    end: End
    minutes: float
    readings: tuple[Reading, ...]

    @property
    def reasons(self) -> list[str]:
        """Why it does not pass: what is worse, or else what is not known to be good."""
        worse = [each.said for each in self.readings if each.outcome == Outcome.WORSE]
        return worse or [f"{each.said} ({each.outcome})" for each in self.readings if not each.lets_pass]

    @property
    def missing(self) -> list[str]:
        """What is not known, and holds nothing up."""
        return [f"{each.said} ({each.outcome}, advisory)" for each in self.readings if each.is_missing and not each.required]

    @property
    def status(self) -> int | None:
        """The exit status; None while it bakes."""
        return EXIT_STATUS.get(self.end)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "reasons": self.reasons}


def verdict(evidence: Evidence, limits: Limits, minutes: float) -> Verdict:
    """Judge a bake that has gone on for `minutes`.

    What is worse fails at once. From `bake_minutes` on it passes when every required measure has enough figures and all known
    ones keep to their thresholds. Otherwise it bakes on up to `max_bake_minutes`, and is inconclusive then. Missing figures
    never fail it. Those of an advisory measure hold nothing up.
    """
    bake = Bake(evidence, limits)
    readings = tuple(_ended(read(measure, bake), limits, minutes) for measure in MEASURES if measure.is_on(limits))
    if any(each.outcome == Outcome.WORSE for each in readings):
        return Verdict(End.FAIL, minutes, readings)
    if minutes >= limits.bake_minutes and all(each.lets_pass for each in readings):
        return Verdict(End.PASS, minutes, readings)
    return Verdict(End.INCONCLUSIVE if minutes >= limits.max_bake_minutes else End.BAKING, minutes, readings)


def _ended(reading: Reading, limits: Limits, minutes: float) -> Reading:
    """The fixed rule at the bake's end: the mean of all answers is below its limit, or the version is worse."""
    if reading.name == "mean" and reading.outcome == Outcome.ABOVE and minutes >= limits.bake_minutes:
        return replace(reading, outcome=Outcome.WORSE)
    return reading
