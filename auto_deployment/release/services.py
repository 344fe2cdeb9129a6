"""Which image and track each service runs, and the Compose file that says so. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator

STABLES = ("stable-1", "stable-2")
CANARY = "canary"
SERVICES = (*STABLES, CANARY)
# What keeps a service's version fresh. It changes with the last service of a track, so both versions of a promotion have one.
FOLLOWERS = {STABLES[-1]: "fresh", CANARY: "fresh-canary"}
# Compose reads it after docker-compose.yml without an option, so an operator's `up -d` brings back what the release left.
OVERRIDE = "docker-compose.override.yml"

Track: TypeAlias = Literal["stable", "canary"]


@dataclass(frozen=True)
class Slot:
    """What a service runs: an image's tag, and the track that its answers carry."""

    tag: str
    track: Track


def _of_all_services(slots: Mapping[str, Slot | None]) -> Mapping[str, Slot | None]:
    if missing := set(SERVICES) - set(slots):
        raise ValueError(f"no entry for {', '.join(sorted(missing))}")
    return slots


# By service; None: the service is not there.
Slots: TypeAlias = Annotated[Mapping[str, Slot | None], AfterValidator(_of_all_services)]

FIRST: Slots = {**{name: Slot("stable", "stable") for name in STABLES}, CANARY: Slot("stable", "canary")}


def override(slots: Slots) -> str:
    """The Compose file of `slots` and their followers, whose profile may be off.

    What is not there is scaled to none: `up -d` must not bring an aborted canary back.
    """
    lines = ["# Written by scripts/deploy.sh, which knows what is in service: do not edit.", "services:"]
    for name in SERVICES:
        slot = slots[name]
        lines.append(f"  {name}: {'{scale: 0}' if slot is None else _service(slot)}")
    for service, follower in FOLLOWERS.items():
        slot = slots[service]
        absent = ", scale: 0" if slot is None else ""
        lines.append(f"  {follower}: {{{_image('stable' if slot is None else slot.tag)}, profiles: [fresh]{absent}}}")
    return "\n".join([*lines, ""])


def _service(slot: Slot) -> str:
    return f"{{{_image(slot.tag)}, environment: {{TRACK: {slot.track}}}}}"


def _image(tag: str) -> str:
    return f'image: "${{APP_IMAGE:-movierec-app}}:{tag}"'
