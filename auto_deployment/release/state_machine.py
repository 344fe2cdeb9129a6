"""A release as a state machine: the next step, given what happened. Pure.

Each step can be repeated from its beginning, so any process can continue from the state on the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from auto_deployment.release.analysis.verdict import Decision
from auto_deployment.release.services import CANARY, SERVICES, Slot, Slots
from auto_deployment.versioning.repository import tag_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class ReleaseStep(StrEnum):
    """Where a release stands; the value is what people read."""

    BUILD = "build"
    SHADOW = "shadow"
    LEAVE = "take the canary out"
    REPLACE = "replace the canary"
    WARM = "warm up"
    ENTER = "let the canary in"
    BAKE = "bake"
    STABLE_1 = "replace stable-1"
    STABLE_2 = "replace stable-2"
    THIRD = "make the canary a stable service"
    KEEP = "keep the image"
    WITHDRAW = "withdraw the canary"
    UNDO = "undo the promotion"
    END = "end"


class Ending(StrEnum):
    """How a release ends."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    ABORTED = "aborted"
    REFUSED = "refused"
    INCONCLUSIVE = "inconclusive"
    FAILED = "failed"
    SUPERSEDED = "superseded"


EXIT_STATUS = {
    Ending.PROMOTED: 0,
    Ending.ROLLED_BACK: 0,
    Ending.SUPERSEDED: 0,
    Ending.FAILED: 1,
    Ending.ABORTED: 3,
    Ending.REFUSED: 3,
    Ending.INCONCLUSIVE: 4,
}
# Such a version is released again only with --again.
TAKEN_BACK = frozenset({Ending.ABORTED, Ending.REFUSED, Ending.INCONCLUSIVE})

ORDER = tuple(step for step in ReleaseStep if step not in {ReleaseStep.WITHDRAW, ReleaseStep.UNDO, ReleaseStep.END})
PROMOTES = {ReleaseStep.STABLE_1: "stable-1", ReleaseStep.STABLE_2: "stable-2", ReleaseStep.THIRD: CANARY}
# No client has had an answer of the version.
BEFORE_USERS = frozenset({ReleaseStep.BUILD, ReleaseStep.SHADOW})
# The version has not been given to stable services.
BEFORE_PROMOTION = frozenset(ORDER[: ORDER.index(ReleaseStep.STABLE_1)])

# A clock that NTP steers may drift this far in a bake, without anybody setting it.
CLOCK_SECONDS = 60.0

Action = Literal["abort", "promote", "release"]


@dataclass(frozen=True)
class OperatorRequest:
    """An operator's request to the release under way. For "release": the newer `version` and the `options` of its command."""

    action: Annotated[Action, Field(alias="wish")]
    who: str
    version: int = 0
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """A release or rollback under way. Times in seconds since 1970.

    `before`: what the services ran before. `image`: the id of the image that bakes. `boot`: the machine's start, as the
    kernel names it, under which the last observation was made. `bake_uptime`: `bake_began` in seconds since that
    start, by a clock that nobody can set. `entered`: when users first got the canary; unlike `bake_began`, `entered` does not
    move by the time that the machine was off. `ending` and `reasons` are known after the decision. `promoted_by`: who asked
    for a promotion before the bake's end. Without `shadowed` the version bakes without a shadow run.
    """

    kind: Literal["release", "rollback"]
    version: int
    replaces: int
    who: str
    began: float
    folder: str
    step: ReleaseStep
    before: Slots = field(default_factory=dict)
    image: str = ""
    boot: str = ""
    bake_began: float | None = None
    bake_uptime: float | None = None
    entered: float | None = None
    ending: Ending | None = None
    reasons: tuple[str, ...] = ()
    promoted_by: Annotated[str, Field(alias="urged")] = ""
    shadowed: bool = True

    @property
    def tag(self) -> str:
        """The tag of its image."""
        return tag_of(self.version)

    def minutes(self, now: float) -> float:
        """How long the version has baked."""
        return 0.0 if self.bake_began is None else (now - self.bake_began) / 60


def with_corrected_clock(rollout: Rollout, now: float, uptime: float) -> Rollout:
    """The rollout with its bake's times moved where somebody has set the clock: a bake lasts as long as time really passes."""
    if rollout.bake_began is None or rollout.bake_uptime is None:
        return rollout
    set_by = (now - rollout.bake_began) - (uptime - rollout.bake_uptime)
    if abs(set_by) < CLOCK_SECONDS:
        return rollout
    entered = None if rollout.entered is None else rollout.entered + set_by
    return replace(rollout, bake_began=rollout.bake_began + set_by, entered=entered)


def first_step(kind: Literal["release", "rollback"]) -> ReleaseStep:
    """The first step of a release or a rollback."""
    return ReleaseStep.BUILD if kind == "release" else ReleaseStep.STABLE_1


def step_done(rollout: Rollout) -> Rollout:
    """The rollout after its step has succeeded."""
    if rollout.step in {ReleaseStep.WITHDRAW, ReleaseStep.UNDO}:
        return replace(rollout, step=ReleaseStep.END)
    if rollout.step == ReleaseStep.KEEP:
        ending = Ending.PROMOTED if rollout.kind == "release" else Ending.ROLLED_BACK
        return replace(rollout, step=ReleaseStep.END, ending=ending)
    skipped = 1 if rollout.step == ReleaseStep.BUILD and not rollout.shadowed else 0
    return replace(rollout, step=ORDER[ORDER.index(rollout.step) + 1 + skipped])


def ended_early(rollout: Rollout, ending: Ending, *reasons: str) -> Rollout:
    """The rollout that is to end as `ending`: users and services lose the version first."""
    back = (
        ReleaseStep.END
        if rollout.step in BEFORE_USERS
        else ReleaseStep.WITHDRAW
        if rollout.step in BEFORE_PROMOTION
        else ReleaseStep.UNDO
    )
    return replace(rollout, step=back, ending=ending, reasons=reasons)


def step_failed(rollout: Rollout, reason: str, *, unhealthy: bool = False) -> Rollout:
    """The rollout after its step has failed. An `unhealthy` canary is a bad version; other faults fail the release."""
    ending = Ending.ABORTED if unhealthy and rollout.step in {ReleaseStep.REPLACE, ReleaseStep.WARM} else Ending.FAILED
    return ended_early(rollout, ending, f"{rollout.step}: {reason}")


def apply_verdict(rollout: Rollout, end: Decision, reasons: Sequence[str]) -> Rollout:
    """The rollout after a verdict."""
    if end == Decision.FAIL:
        return ended_early(rollout, Ending.ABORTED, *reasons)
    if end == Decision.INCONCLUSIVE:
        return ended_early(rollout, Ending.INCONCLUSIVE, *reasons)
    return step_done(rollout) if end == Decision.PASS else rollout


def apply_request(rollout: Rollout, request: OperatorRequest) -> Rollout:
    """The rollout after an operator's request. A withdrawal continues, and a newer version does not stop a promotion."""
    if rollout.ending is not None or rollout.step == ReleaseStep.KEEP:
        return rollout
    if request.action == "abort":
        return ended_early(rollout, Ending.ABORTED, f"{request.who} asked for it")
    if request.action == "release":
        if rollout.step not in BEFORE_PROMOTION:
            return rollout
        return ended_early(rollout, Ending.SUPERSEDED, f"version {request.version} came, by {request.who}")
    return replace(rollout, promoted_by=request.who)


def promoted_slot(rollout: Rollout) -> Slot:
    """What a service runs once the version is promoted."""
    return Slot(rollout.tag, "stable")


def canary_slot(rollout: Rollout) -> Slot:
    """What the canary runs while the version bakes."""
    return Slot(rollout.tag, "canary")


def to_bring_back(rollout: Rollout) -> dict[str, Slot]:
    """The slots that an undo brings back: all of them, because a kill may have come between recording a slot and replacing it.

    The canary of a release is withdrawn instead, so it is not among them.
    """
    found = {name: rollout.before[name] for name in SERVICES if name != CANARY or rollout.kind == "rollback"}
    return {name: slot for name, slot in found.items() if slot is not None}
