"""The notice of each end of a release. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from auto_deployment.common.time_format import minutes_of, utc
from auto_deployment.notify import Notice
from auto_deployment.release.state_machine import Ending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.release.analysis.readings import Reading
    from auto_deployment.release.state import ReleaseEnd

SERVES = {
    Ending.PROMOTED: "Version {version} is deployed: every service runs it.",
    Ending.ROLLED_BACK: "Version {version} is in service again. Version {replaces} is not released again automatically.",
    Ending.ABORTED: "The canary was removed: version {replaces} stays in service.",
    Ending.REFUSED: "No user got an answer from version {version}: version {replaces} stays in service.",
    Ending.INCONCLUSIVE: "The evidence did not suffice for a promotion: version {replaces} stays in service.",
    # On a server only: Argo Rollouts aborts a release that cannot be carried out.
    Ending.FAILED: "Version {replaces} stays in service. The reason is above. The same scripts/deploy.sh command tries again.",
    Ending.SUPERSEDED: "The release of the newer version begins now. Until its promotion version {replaces} stays in service.",
}
AGAIN = {Ending.ABORTED, Ending.REFUSED, Ending.INCONCLUSIVE}


@dataclass(frozen=True)
class Advice:
    """What differs by where a release runs: where its evidence is, and the command to release again.

    Templates of `version` and `folder`.
    """

    evidence: str
    again: str


SERVER = Advice(
    evidence=".stack/release/{folder}/report.html",
    again="scripts/deploy.sh release --again, while data/version.txt says {version}",
)


def notice_of(end: ReleaseEnd, readings: Sequence[Reading] = (), advice: Advice = SERVER) -> Notice:
    """The notice of an end; `readings` are the values of its last verdict."""
    reasons = [f"- {reason}" for reason in end.reasons]
    measured = [f"{each.name}: {each.message}" for each in readings]
    lasted = [
        f"version   {end.version}, replacing {end.replaces}",
        f"began     {utc(end.began)}, by {end.who}",
        f"ended     {utc(end.ended)}, after {minutes_of(end.ended - end.began)}",
        f"evidence  {advice.evidence.format(folder=end.folder)}",
    ]
    parts = (lasted, reasons, measured, in_service_after(end, advice))
    text = "\n\n".join("\n".join(part) for part in parts if part) + "\n"
    return Notice(subject_of(end), text, f"{end.folder} {end.ended}")


def in_service_after(end: ReleaseEnd, advice: Advice = SERVER) -> list[str]:
    """Which version serves after an end, and what to do to release this version again."""
    after = [SERVES[end.ending].format(version=end.version, replaces=end.replaces)]
    if end.ending in AGAIN:
        after.append(
            f"Version {end.version} is not released again automatically. "
            f"To release it: {advice.again.format(version=end.version)}."
        )
    return after


def subject_of(end: ReleaseEnd) -> str:
    """Such as `movierec: canary 7 aborted: mean 700 ms, limit 500 ms`; after a promotion `... deployed successfully`."""
    if end.ending == Ending.ROLLED_BACK:
        return f"movierec: rolled back to version {end.version} from {end.replaces}"
    if end.ending == Ending.PROMOTED:
        return f"movierec: version {end.version} promoted: deployed successfully"
    why = f": {'; '.join(end.reasons)}" if end.reasons else ""
    return f"movierec: canary {end.version} {end.ending}{why}"
