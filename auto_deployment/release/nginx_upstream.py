"""NGINX's upstream: the services that get traffic, and those being drained. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.release.services import CANARY, SERVICES, STABLES

if TYPE_CHECKING:
    from collections.abc import Collection

    from auto_deployment.release.services import Slots

WEIGHTS = {**dict.fromkeys(STABLES, 2), CANARY: 1}
EJECTED = "max_fails=5 fail_timeout=2s"
# A canary that is ejected would starve its own evidence.
NEVER_EJECTED = "max_fails=0"
HEAD = """\
# The services and their shares of the first tries: 40/40/20. The release replaces this file to drain a server, and reloads.
upstream recommend {
    zone recommend 128k;
"""
# A stable server that was ejected by bad luck is still asked before a client gets an error.
TAIL = """\
    keepalive 32;
    keepalive_timeout 60s;
}
"""


def render(slots: Slots, down: Collection[str] = ()) -> str:
    """The file `upstream.conf`: of the services that are there, those in `down` are asked no more."""
    servers = [_server(name, slots, down) for name in SERVICES if slots[name] is not None]
    backups = [f"{name}:5000 resolve backup max_fails=0{_down(name, down)}" for name in STABLES if slots[name] is not None]
    return HEAD + "".join(f"    server {each};\n" for each in (*servers, *backups)) + TAIL


def drain_set(slots: Slots, wanted: str, unhealthy: Collection[str]) -> set[str]:
    """Whom to ask no more while `wanted` is replaced: the `unhealthy` too, where that leaves somebody who answers."""
    there = {name for name in SERVICES if slots[name] is not None}
    both = {wanted, *unhealthy} & there
    return both if there - both else {wanted} & there


def _server(name: str, slots: Slots, down: Collection[str]) -> str:
    slot = slots[name]
    fails = NEVER_EJECTED if slot is not None and slot.track == "canary" else EJECTED
    return f"{name}:5000 resolve weight={WEIGHTS[name]} {fails}{_down(name, down)}"


def _down(name: str, down: Collection[str]) -> str:
    return " down" if name in down else ""
