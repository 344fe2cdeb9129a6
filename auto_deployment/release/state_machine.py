"""A release as a state that moves: which step comes next, after what happened. Pure.

Each step can be done again from its beginning, so that any process can continue from the state on the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from auto_deployment.release.analysis.verdict import End as Judged
from auto_deployment.release.image_commands import tag_of
from auto_deployment.release.services import CANARY, SERVICES, Slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.release.services import Slots


class Step(StrEnum):
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
# Such a version is not released again by itself.
TAKEN_BACK = frozenset({Ending.ABORTED, Ending.REFUSED, Ending.INCONCLUSIVE})

ORDER = tuple(step for step in Step if step not in {Step.WITHDRAW, Step.UNDO, Step.END})
PROMOTES = {Step.STABLE_1: "stable-1", Step.STABLE_2: "stable-2", Step.THIRD: CANARY}
# No client has seen anything of the version.
UNSEEN = frozenset({Step.BUILD, Step.SHADOW})
# The version has not been given to stable services.
BEFORE_PROMOTION = frozenset(ORDER[: ORDER.index(Step.STABLE_1)])

# A clock that is steered drifts so far in a bake without being set.
CLOCK_SECONDS = 60.0

Wish = Literal["abort", "promote", "release"]


@dataclass(frozen=True)
class Request:
    """What somebody asks of the release under way; with "release" the newer `version`, and `options` of its command."""

    wish: Wish
    who: str
    version: int = 0
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """A release or rollback under way. Times in seconds since 1970.

    `before` is what the services ran before it, and `image` the id of the image that bakes. `boot` names the machine's
    start under which the last look was taken. `bake_uptime` is `bake_began` in seconds since that start, which nobody can set.
    `entered` is when users first got the canary: unlike `bake_began` it does not move by the time that the machine was away.
    `ending` and `reasons` are known once it is decided; `urged` says who wants it promoted without a bake; one that is not
    `shadowed` bakes untried.
    """

    kind: Literal["release", "rollback"]
    version: int
    replaces: int
    who: str
    began: float
    folder: str
    step: Step
    before: Slots = field(default_factory=dict)
    image: str = ""
    boot: str = ""
    bake_began: float | None = None
    bake_uptime: float | None = None
    entered: float | None = None
    ending: Ending | None = None
    reasons: tuple[str, ...] = ()
    urged: str = ""
    shadowed: bool = True

    @property
    def tag(self) -> str:
        """The tag of its image."""
        return tag_of(self.version)

    def minutes(self, now: float) -> float:
        """For how long it has baked."""
        return 0.0 if self.bake_began is None else (now - self.bake_began) / 60


def kept_time(rollout: Rollout, now: float, uptime: float) -> Rollout:
    """Where somebody has set the clock, its bake began so much earlier or later: it lasts as long as really goes by."""
    if rollout.bake_began is None or rollout.bake_uptime is None:
        return rollout
    set_by = (now - rollout.bake_began) - (uptime - rollout.bake_uptime)
    if abs(set_by) < CLOCK_SECONDS:
        return rollout
    entered = None if rollout.entered is None else rollout.entered + set_by
    return replace(rollout, bake_began=rollout.bake_began + set_by, entered=entered)


def first_step(kind: Literal["release", "rollback"]) -> Step:
    """What a release, or a rollback, begins with."""
    return Step.BUILD if kind == "release" else Step.STABLE_1


def done(rollout: Rollout) -> Rollout:
    """Its step has succeeded."""
    if rollout.step in {Step.WITHDRAW, Step.UNDO}:
        return replace(rollout, step=Step.END)
    if rollout.step == Step.KEEP:
        ending = Ending.PROMOTED if rollout.kind == "release" else Ending.ROLLED_BACK
        return replace(rollout, step=Step.END, ending=ending)
    skipped = 1 if rollout.step == Step.BUILD and not rollout.shadowed else 0
    return replace(rollout, step=ORDER[ORDER.index(rollout.step) + 1 + skipped])


def given_up(rollout: Rollout, ending: Ending, *reasons: str) -> Rollout:
    """It is to end so: what users or services have got of the version is taken back first."""
    back = Step.END if rollout.step in UNSEEN else Step.WITHDRAW if rollout.step in BEFORE_PROMOTION else Step.UNDO
    return replace(rollout, step=back, ending=ending, reasons=reasons)


def broken(rollout: Rollout, reason: str, *, sick: bool = False) -> Rollout:
    """Its step could not be done. A canary that is `sick` is a bad version; what else breaks, as the engine, is a failure."""
    ending = Ending.ABORTED if sick and rollout.step in {Step.REPLACE, Step.WARM} else Ending.FAILED
    return given_up(rollout, ending, f"{rollout.step}: {reason}")


def judged(rollout: Rollout, end: Judged, reasons: Sequence[str]) -> Rollout:
    """The verdict after a look."""
    if end == Judged.FAIL:
        return given_up(rollout, Ending.ABORTED, *reasons)
    if end == Judged.INCONCLUSIVE:
        return given_up(rollout, Ending.INCONCLUSIVE, *reasons)
    return done(rollout) if end == Judged.PASS else rollout


def asked(rollout: Rollout, request: Request) -> Rollout:
    """Somebody asks something of it. What is being taken back goes on to its end; so does a promotion where a newer comes."""
    if rollout.ending is not None or rollout.step == Step.KEEP:
        return rollout
    if request.wish == "abort":
        return given_up(rollout, Ending.ABORTED, f"{request.who} asked for it")
    if request.wish == "release":
        if rollout.step not in BEFORE_PROMOTION:
            return rollout
        return given_up(rollout, Ending.SUPERSEDED, f"version {request.version} came, by {request.who}")
    return replace(rollout, urged=request.who)


def promoted_slot(rollout: Rollout) -> Slot:
    """What a service runs once the version is promoted."""
    return Slot(rollout.tag, "stable")


def canary_slot(rollout: Rollout) -> Slot:
    """What the canary runs while the version bakes."""
    return Slot(rollout.tag, "canary")


def to_bring_back(rollout: Rollout) -> dict[str, Slot]:
    """What an undoing has services run again: all of them, as a kill may have come between a slot's note and its container.

    The canary of a release is withdrawn instead.
    """
    found = {name: rollout.before[name] for name in SERVICES if name != CANARY or rollout.kind == "rollback"}
    return {name: slot for name, slot in found.items() if slot is not None}
