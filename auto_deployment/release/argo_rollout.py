"""What a Rollout of Argo Rollouts shows, and the ends of releases that follow from it. Pure.

The form is that of Argo Rollouts 1.10 (`pkg/apis/rollouts/v1alpha1/types.go` and `analysis_types.go`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict

from auto_deployment.common.time_format import from_iso
from auto_deployment.release.state import ReleaseEnd
from auto_deployment.release.state_machine import Ending, ReleaseStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ENDS_KEPT = 50
POD_HASH = "rollouts-pod-template-hash"
HEALTHY, DEGRADED = "Healthy", "Degraded"
PROGRESSING, COMPLETED = "Progressing", "Completed"
MEASUREMENT_ERROR = "Error"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class ArgoRollout:
    """A Rollout as its controller last saw it. Times in seconds since 1970.

    `wanted` and `serving` are the hashes of two pod templates: the one of the specification, and the one that is in service.
    `serving` is empty during the first installation. `image` and `who` are of `wanted`: its image, and what set it. `written`:
    when `who` last wrote the specification; 0 where that is not known. `changed`: when the controller last completed a release,
    or began the first one after that. `stopped`: when the controller aborted `wanted`. The chart sets `progressDeadlineAbort`,
    so a time-out is an abort too. `uid`: a Rollout that is made again has another.
    """

    uid: str
    image: str
    who: str
    written: float
    wanted: str
    serving: str
    phase: str
    message: str
    changed: float
    stopped: float | None

    @property
    def is_under_way(self) -> bool:
        """Whether a release runs now."""
        return self.wanted != self.serving and self.stopped is None

    @property
    def stop(self) -> str:
        """A name of the abort that is shown; empty where none is shown."""
        return "" if self.stopped is None or self.wanted == self.serving else f"{self.wanted} {self.stopped:.0f}"


def rollout_of(body: Mapping[str, Any]) -> ArgoRollout | None:
    """The Rollout of the API's JSON; None where its controller has not seen the last change of the specification yet.

    Raises KeyError, IndexError, TypeError or ValueError for another object.
    """
    metadata, spec, status = body["metadata"], body["spec"], body.get("status", {})
    if str(status.get("observedGeneration", "")) != str(metadata["generation"]):
        return None
    conditions = {each["type"]: each for each in status.get("conditions", ())}
    progressing, completed = conditions.get(PROGRESSING, {}), conditions.get(COMPLETED, {})
    who, written = _manager(metadata.get("managedFields", ()))
    return ArgoRollout(
        uid=metadata["uid"],
        image=spec["template"]["spec"]["containers"][0]["image"],
        who=who,
        written=written,
        wanted=status.get("currentPodHash", ""),
        serving=status.get("stableRS", ""),
        phase=status.get("phase", ""),
        message=progressing.get("message", ""),
        changed=_time(completed.get("lastTransitionTime") or metadata["creationTimestamp"]),
        stopped=_time(status.get("abortedAt")) if status.get("abort") else None,
    )


def _time(text: str | None) -> float:
    found = from_iso(text)
    if found is None:
        raise ValueError("a time is missing")
    return found


def _manager(fields: Iterable[Mapping[str, Any]]) -> tuple[str, float]:
    """The name under which the pod template was last changed, such as `helm`, and when; 0 where that is not known."""
    found = [each for each in fields if "f:template" in each.get("fieldsV1", {}).get("f:spec", {})]
    last = max(found, key=lambda each: each.get("time", ""), default={"manager": UNKNOWN})
    return str(last["manager"]), from_iso(last.get("time")) or 0.0


@dataclass(frozen=True)
class Analysis:
    """An AnalysisRun. Times in seconds since 1970.

    `since`: the argument of that name. `decision`: the last measurement's value; empty where that one failed. `measured`: its
    time. `events`: time and text of each measurement that is kept.
    """

    started: float
    since: str
    decision: str
    measured: float | None
    message: str
    events: tuple[tuple[float, str], ...]


def analysis_of(items: Iterable[Mapping[str, Any]], until: float) -> Analysis | None:
    """The last AnalysisRun that began until then; None where there is none, or none began to measure.

    Raises KeyError, TypeError or ValueError for other objects.
    """
    begun = [(_time(each["status"]["startedAt"]), each) for each in items if each.get("status", {}).get("startedAt")]
    # A run that begins with an abort is a trace of the same reconciliation.
    begun = [(started, each) for started, each in begun if started <= until + 1]
    if not begun:
        return None
    started, run = max(begun, key=lambda each: each[0])
    results = run["status"].get("metricResults", ())
    measurements = [each for result in results for each in result.get("measurements", ()) if each.get("finishedAt")]
    events = tuple((_time(each["finishedAt"]), _said(each)) for each in measurements)
    last = measurements[-1] if measurements else None
    return Analysis(
        started=started,
        since=next((each.get("value") or "" for each in run["spec"].get("args", ()) if each["name"] == "since"), ""),
        decision="" if last is None or last["phase"] == MEASUREMENT_ERROR else last.get("value", "").strip('"'),
        measured=events[-1][0] if events else None,
        message=run["status"].get("message", ""),
        events=events,
    )


def _said(measurement: Mapping[str, Any]) -> str:
    return measurement.get("value", "").strip('"') or measurement.get("message", "") or str(measurement["phase"])


@dataclass(frozen=True)
class UnderWay:
    """The release that runs: the hash of its pod template, its version, and since when; `who` as in ReleaseEnd."""

    template: str
    version: int
    who: str
    began: float


@dataclass(frozen=True)
class RecordedEnd:
    """An end, and the hash of its pod template, by which the AnalysisRun is found. `has_evidence`: the evidence is written."""

    end: ReleaseEnd
    template: str
    has_evidence: bool = False

    def is_of(self, end: ReleaseEnd) -> bool:
        """Whether `end` is a form of the same end."""
        return (self.end.folder, self.end.ended) == (end.folder, end.ended)


@dataclass(frozen=True)
class Record:
    """What was seen of a Rollout so far; nothing at the first start.

    `uid`: the Rollout's own. `serving`: the hash of the pod template in service. `in_service`: its version; None where that is
    not known. `stop`: the last abort that was recorded.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")  # also for the dataclasses in it
    uid: str = ""
    serving: str = ""
    in_service: int | None = None
    stop: str = ""
    under_way: UnderWay | None = None
    ends: tuple[RecordedEnd, ...] = ()

    def last_end(self, template: str, before: float) -> float:
        """When the last release of a pod template ended before a time; 0 where none did."""
        return max((each.end.ended for each in self.ends if each.template == template and each.end.ended < before), default=0.0)

    def with_end(self, end: ReleaseEnd) -> Record:
        """The record with a later form of one of its ends, whose evidence is written."""
        ends = (replace(each, end=end, has_evidence=True) if each.is_of(end) else each for each in self.ends)
        return replace(self, ends=tuple(ends))


def observe(record: Record, rollout: ArgoRollout, version: int, now: float) -> Record:
    """The record after a look at the Rollout: what is under way, and a further end where a release has ended.

    `version` is that of the wanted pod template. The first look reports no end that is there already. A release that began and
    ended between two looks is reported too. After another installation the next look is a first one.
    """
    if not rollout.serving:
        return record
    if rollout.uid != record.uid:
        in_service = version if rollout.wanted == rollout.serving else None
        record = Record(rollout.uid, rollout.serving, in_service, rollout.stop, None, record.ends)
    if rollout.serving != record.serving:
        if rollout.wanted == rollout.serving and rollout.phase != HEALTHY:
            return record  # its last pods are still replaced
        record = _promoted(record, rollout, version)
    before, written = record.under_way, rollout.written or now
    if before is not None and before.template != rollout.wanted:
        if rollout.wanted == rollout.serving:
            record = _ended(record, before, Ending.ABORTED, written, f"version {version} was set again, by {rollout.who}")
        else:
            record = _ended(record, before, Ending.SUPERSEDED, written, f"version {version} came, by {rollout.who}")
    if rollout.stop and rollout.stop != record.stop:
        record = _ended(record, _current(record, rollout, version), Ending.ABORTED, rollout.stopped or now, _reason(rollout))
        record = replace(record, stop=rollout.stop)
    if rollout.is_under_way and record.under_way is None:
        record = replace(record, under_way=_current(record, rollout, version))
    return record


def _current(record: Record, rollout: ArgoRollout, version: int) -> UnderWay:
    """The release of the wanted template. Argo's own time is that of the first one after a promotion, so others count too."""
    if record.under_way is not None:
        return record.under_way
    last = max((each.end.ended for each in record.ends), default=0.0)
    return UnderWay(rollout.wanted, version, rollout.who, max(rollout.changed, rollout.written, last))


def _promoted(record: Record, rollout: ArgoRollout, version: int) -> Record:
    """The record after another template went into service. Its version is not known if yet another one is wanted by now.

    Where the promotion was the first thing seen of a release, only its AnalysisRun knows when it began.
    """
    promoted = record.under_way if record.under_way and record.under_way.template == rollout.serving else None
    if promoted is None and rollout.wanted == rollout.serving:
        promoted = UnderWay(rollout.wanted, version, rollout.who, rollout.changed)
    in_service = promoted.version if promoted else None
    if promoted is not None:
        ending = Ending.ROLLED_BACK if record.in_service and promoted.version < record.in_service else Ending.PROMOTED
        record = _ended(record, promoted, ending, rollout.changed)
    return replace(record, serving=rollout.serving, in_service=in_service, under_way=None, stop="")


def _ended(record: Record, release: UnderWay, ending: Ending, ended: float, *reasons: str) -> Record:
    """The record with a further end; a version that is not known is 0, as before the first release of a server."""
    folder = f"{release.version}-{datetime.fromtimestamp(release.began, UTC):%Y%m%dT%H%M%SZ}"
    is_taken = folder in {each.end.folder for each in record.ends}
    end = ReleaseEnd(
        version=release.version,
        ending=ending,
        reasons=reasons,
        who=release.who,
        began=release.began,
        ended=max(ended, release.began),
        replaces=record.in_service or 0,
        # Another template may have the same version.
        folder=f"{folder}-{release.template}" if is_taken else folder,
    )
    return replace(record, under_way=None, ends=(*record.ends, RecordedEnd(end, release.template))[-ENDS_KEPT:])


def _reason(rollout: ArgoRollout) -> str:
    """Why a release was stopped, from the controller's message `Rollout aborted update to revision 3: WHY`."""
    why = rollout.message.partition(": ")[2]
    if not why:
        return "an operator asked for it"
    return f"{ReleaseStep.REPLACE}: {why}" if "timed out" in why else why


def with_verdict(end: ReleaseEnd, decision: str, reasons: Iterable[str]) -> ReleaseEnd:
    """An end with what the verdict said: an abort by the verdict has the verdict's reasons, and may be inconclusive."""
    if end.ending != Ending.ABORTED or decision not in {"fail", "inconclusive"}:
        return end
    ending = Ending.INCONCLUSIVE if decision == "inconclusive" else Ending.ABORTED
    return replace(end, ending=ending, reasons=tuple(reasons) or end.reasons)
