"""What is in service, what is under way, and how releases ended: one file, `.stack/release/state.json`."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read_typed evaluates the annotations
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import read_typed, write_typed
from auto_deployment.release.services import FIRST, Slot, Slots
from auto_deployment.release.state_machine import TAKEN_BACK, Ending, Rollout
from auto_deployment.versioning.repository import VERSION_TAG, current_version

FOLDER = Path(".stack") / "release"
FILE = "state.json"
LOCK = "lock"
ENDS_KEPT = 200
LATELY_SECONDS = 30 * 86_400.0


@dataclass(frozen=True)
class ReleaseEnd:
    """How a release ended. Times in seconds since 1970.

    `notified_by`: the channels that accepted the notice. `notified`: all channels did, or a day has passed.
    `false_alarm`: the result of the bake's self-test; None: the bake had no self-test.
    """

    version: int
    ending: Ending
    reasons: tuple[str, ...]
    who: str
    began: float
    ended: float
    replaces: int
    folder: str
    false_alarm: bool | None = None
    notified: Annotated[bool, Field(alias="told")] = False
    notified_by: Annotated[tuple[str, ...], Field(alias="told_by")] = ()


@dataclass(frozen=True)
class ReleaseState:
    """`since` in seconds since 1970; `served` holds the versions that were in service before, newest last."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")  # also for the dataclasses in it
    in_service: int | None
    since: float
    slots: Slots
    served: tuple[int, ...]
    taken_back: Mapping[str, str]
    under_way: Rollout | None
    ends: tuple[ReleaseEnd, ...]

    def ended(self, rollout: Rollout, now: float, *, false_alarm: bool | None) -> ReleaseState:
        """The state after the end of the release that was under way."""
        ending = rollout.ending or Ending.FAILED
        end = ReleaseEnd(
            version=rollout.version,
            ending=ending,
            reasons=rollout.reasons,
            who=rollout.who,
            began=rollout.began,
            ended=now,
            replaces=rollout.replaces,
            folder=rollout.folder,
            false_alarm=false_alarm,
        )
        after = replace(self, under_way=None, ends=(*self.ends, end)[-ENDS_KEPT:])
        if ending in TAKEN_BACK or (ending == Ending.FAILED and rollout.bake_began is not None):
            return replace(after, taken_back={**self.taken_back, str(rollout.version): str(ending)})
        if ending in {Ending.PROMOTED, Ending.ROLLED_BACK}:
            return after.serving(rollout, now)
        return after

    def serving(self, rollout: Rollout, now: float) -> ReleaseState:
        """The rollout's version is in service from `now` on."""
        back = dict(self.taken_back)
        back.pop(str(rollout.version), None)
        served = [version for version in (*self.served, rollout.replaces) if version != rollout.version]
        if rollout.ending == Ending.ROLLED_BACK:
            back[str(rollout.replaces)] = str(Ending.ROLLED_BACK)
            served.remove(rollout.replaces)
        return replace(self, in_service=rollout.version, since=now, served=tuple(dict.fromkeys(served)), taken_back=back)

    def kept(self, images: int) -> set[int]:
        """The versions that run, that are under way, and that a rollback may bring back: the last `images` in service."""
        slots = [*self.slots.values()]
        found = {*self.served[-images:]} if images else set()
        if self.in_service is not None:
            found.add(self.in_service)
        if self.under_way is not None:
            found |= {self.under_way.version, self.under_way.replaces}
            slots += self.under_way.before.values()
        tags = [VERSION_TAG.fullmatch(slot.tag) for slot in slots if slot is not None]
        return found | {int(each[1]) for each in tags if each}

    def with_slot(self, service: str, slot: Slot | None) -> ReleaseState:
        """`service` runs `slot` from now on; None: it is not there."""
        return replace(self, slots={**self.slots, service: slot})


# Before the first release.
INITIAL = ReleaseState(in_service=None, since=0.0, slots=FIRST, served=(), taken_back={}, under_way=None, ends=())


def load(folder: Path) -> ReleaseState:
    """The state in a release folder; the initial state where the folder has none. Raises StateError for a damaged file."""
    return read_typed(folder / FILE, ReleaseState) or INITIAL


def save(folder: Path, state: ReleaseState) -> None:
    """Replace the state. Any user may read the file: retraining and console run as other users."""
    write_typed(folder / FILE, state, public=True)


def needed_versions(root: Path, images: int, now: float) -> set[int]:
    """The versions whose models the release of a checkout may need; `images` former ones may come back by a rollback.

    The answers of a release that ended lately may not be in the database yet. Raises RunError where the state, or the number of
    the checkout's version, cannot be read.
    """
    if not root.is_dir():
        raise RunError(
            f"{root} (SERVER_DIR) is not there: mount it, or set SERVER_DIR to the checkout whose release is in service"
        )
    state = load(root / FOLDER)
    lately = {each for end in state.ends if now - end.ended < LATELY_SECONDS for each in (end.version, end.replaces)}
    checked_out = set[int]() if state.in_service is None else {current_version(root / "data")}
    return state.kept(images) | lately | checked_out


def in_service(root: Path) -> int | None:
    """The version in service from a checkout; None before the first release. Raises StateError."""
    return load(root / FOLDER).in_service
