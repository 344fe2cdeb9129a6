"""What is in service, what is under way, and how releases ended: one file, `.stack/release/state.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from auto_deployment.common.json_file import StateError, read_json, write_json_synced
from auto_deployment.release.services import FIRST, SERVICES, Slot
from auto_deployment.release.state_machine import TAKEN_BACK, Ending, Rollout, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auto_deployment.release.services import Slots

FOLDER = Path(".stack") / "release"
FILE = "state.json"
ENDS_KEPT = 200


@dataclass(frozen=True)
class End:
    """How a release ended. `told_by`: the channels that took its notice; `told`: all did, or a day went by.

    `false_alarm`: what the self-test of its bake said; None: it had none.
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
    told: bool = False
    told_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """`since` in seconds since 1970; `served` holds the versions that were in service before, newest last."""

    in_service: int | None = None
    since: float = 0.0
    slots: Slots = field(default_factory=lambda: dict(FIRST))
    served: tuple[int, ...] = ()
    taken_back: Mapping[str, str] = field(default_factory=dict)
    under_way: Rollout | None = None
    ends: tuple[End, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        under_way = told["under_way"]
        return cls(
            told["in_service"],
            told["since"],
            _slots(told["slots"]),
            tuple(told["served"]),
            told["taken_back"],
            None if under_way is None else _rollout(under_way),
            tuple(map(_end, told["ends"])),
        )

    def ended(self, rollout: Rollout, now: float, *, false_alarm: bool | None) -> State:
        """After the end of what was under way."""
        ending = rollout.ending or Ending.FAILED
        end = End(
            rollout.version,
            ending,
            rollout.reasons,
            rollout.who,
            rollout.began,
            now,
            rollout.replaces,
            rollout.folder,
            false_alarm,
        )
        after = replace(self, under_way=None, ends=(*self.ends, end)[-ENDS_KEPT:])
        if ending in TAKEN_BACK or (ending == Ending.FAILED and rollout.bake_began is not None):
            return replace(after, taken_back={**self.taken_back, str(rollout.version): str(ending)})
        if ending in {Ending.PROMOTED, Ending.ROLLED_BACK}:
            return after.serving(rollout, now)
        return after

    def serving(self, rollout: Rollout, now: float) -> State:
        """The rollout's version is in service from `now` on."""
        back = dict(self.taken_back)
        back.pop(str(rollout.version), None)
        served = [version for version in (*self.served, rollout.replaces) if version != rollout.version]
        if rollout.ending == Ending.ROLLED_BACK:
            back[str(rollout.replaces)] = str(Ending.ROLLED_BACK)
            served.remove(rollout.replaces)
        return replace(self, in_service=rollout.version, since=now, served=tuple(dict.fromkeys(served)), taken_back=back)

    def with_slot(self, service: str, slot: Slot | None) -> State:
        """`service` runs `slot` from now on; None: it is not there."""
        return replace(self, slots={**self.slots, service: slot})


def load(folder: Path) -> State:
    """The state in a release folder; the first one where there is none. Raises StateError where it cannot be read."""
    told = read_json(folder / FILE)
    try:
        return State() if told is None else State.from_dict(told)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{folder / FILE}: not a release's state ({error!r})") from error


def save(folder: Path, state: State) -> None:
    """Replace it. The retraining, which may be another user's, reads what is in service, whatever the umask of this process."""
    write_json_synced(folder / FILE, state.to_dict())
    (folder / FILE).chmod(0o644)
    folder.chmod(0o755)


def in_service(root: Path) -> int | None:
    """The version that a checkout's release has in service; None before its first. Raises StateError."""
    return load(root / FOLDER).in_service


def _slots(told: Mapping[str, Any]) -> Slots:
    return {name: None if told[name] is None else Slot(**told[name]) for name in SERVICES}


def _rollout(told: Mapping[str, Any]) -> Rollout:
    ending = None if told["ending"] is None else Ending(told["ending"])
    known = {"step": Step(told["step"]), "before": _slots(told["before"]), "ending": ending, "reasons": tuple(told["reasons"])}
    return Rollout(**{**told, **known})


def _end(told: Mapping[str, Any]) -> End:
    told_by = tuple(told.get("told_by", ()))  # an end that an older release wrote has none
    return End(**{**told, "ending": Ending(told["ending"]), "reasons": tuple(told["reasons"]), "told_by": told_by})
