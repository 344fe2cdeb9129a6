"""What people are told at a release's end: one notice each. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auto_deployment.notify import Notice
from auto_deployment.rollout.machine import Ending
from auto_deployment.rollout.times import minutes_of, utc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auto_deployment.rollout.record import End

SERVES = {
    Ending.PROMOTED: "Version {version} is in service everywhere.",
    Ending.ROLLED_BACK: "Version {version} is in service again; {replaces} is not released again by itself.",
    Ending.ABORTED: "The canary was taken out: version {replaces} stays in service.",
    Ending.REFUSED: "No user has seen it: version {replaces} stays in service.",
    Ending.INCONCLUSIVE: "It was taken back for want of evidence: version {replaces} stays in service.",
    Ending.FAILED: "Version {replaces} stays in service. What went wrong stands above.",
    Ending.SUPERSEDED: "The newer version's release begins now; until then version {replaces} is in service.",
}
AGAIN = {Ending.ABORTED, Ending.REFUSED, Ending.INCONCLUSIVE}


def notice_of(end: End, readings: tuple[Mapping[str, Any], ...] = ()) -> Notice:
    """The notice of an end; `readings` are those of its last verdict."""
    reasons = [f"- {reason}" for reason in end.reasons]
    measured = [f"{each['name']}: {each['said']}" for each in readings]
    after = [SERVES[end.ending].format(version=end.version, replaces=end.replaces)]
    if end.ending in AGAIN:
        after.append(
            f"It is not released again by itself: scripts/deploy.sh release --again does, with {end.version} in the tree."
        )
    lasted = [
        f"version   {end.version}, replacing {end.replaces}",
        f"began     {utc(end.began)}, by {end.who}",
        f"ended     {utc(end.ended)}, after {minutes_of(end.ended - end.began)}",
        f"evidence  .stack/release/{end.folder}/report.html",
    ]
    parts = (lasted, reasons, measured, after)
    return Notice(subject_of(end), "\n\n".join("\n".join(part) for part in parts if part) + "\n")


def subject_of(end: End) -> str:
    """Such as `movierec: canary 7 aborted: mean 700 ms, limit 500 ms`."""
    who = "canary" if end.ending not in {Ending.PROMOTED, Ending.ROLLED_BACK} else "version"
    if end.ending == Ending.ROLLED_BACK:
        return f"movierec: rolled back to version {end.version} from {end.replaces}"
    why = f": {'; '.join(end.reasons)}" if end.reasons else ""
    return f"movierec: {who} {end.version} {end.ending}{why}"
