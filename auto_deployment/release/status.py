"""The `status` command: gathered without waiting for other commands; printed as JSON or as about ten lines."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import StateError, read_typed, to_json
from auto_deployment.common.lock import holder, is_held
from auto_deployment.common.time_format import minutes_of, utc
from auto_deployment.release import bake
from auto_deployment.release.analysis.aa_test import PROMISE, Rate, false_alarm_rate
from auto_deployment.release.analysis.verdict import Verdict
from auto_deployment.release.probe import readiness
from auto_deployment.release.services import SERVICES
from auto_deployment.release.state import LOCK, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auto_deployment.release.analysis.readings import Reading
    from auto_deployment.release.context import ReleaseContext
    from auto_deployment.release.state import ReleaseEnd, ReleaseState
    from auto_deployment.release.state_machine import Rollout

log = logging.getLogger(__name__)

READY_SECONDS = 1.0
NO_ENGINE = "no Docker engine answers: what runs is not known. Start Docker, or run scripts/dev engine"


@dataclass(frozen=True)
class ServiceStatus:
    """A service, by the engine and by its own answer. `since`: ISO time of its start.

    `expected`: the release wants the service to run. `error`: the engine's message where the engine gave no answer.
    """

    image: str | None
    expected: bool
    since: str | None = None
    healthy: bool = False
    version: int | None = None
    track: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class RolloutStatus:
    """The rollout under way, its last verdict, and the bake's time in minutes; `minutes_left` is None outside the bake."""

    rollout: Rollout
    baked_minutes: float
    minutes_left: float | None
    verdict: Verdict | None

    def to_json(self) -> dict[str, Any]:
        """The keys of the rollout, then those of its bake."""
        rollout = {name: value for name, value in to_json(self.rollout).items() if name != "before"}
        verdict = None if self.verdict is None else bake.with_reasons(self.verdict)
        return {**rollout, "baked_minutes": self.baked_minutes, "minutes_left": self.minutes_left, "verdict": verdict}


@dataclass(frozen=True)
class Status:
    """The status of a checkout's releases. `since` in seconds since 1970; `running`: the holder of the lock.

    `engine` is False where no Docker engine answers.
    """

    engine: bool
    in_service: int | None
    since: float | None
    services: Mapping[str, ServiceStatus]
    running: str | None
    under_way: RolloutStatus | None
    self_test: Rate
    served_before: tuple[int, ...]
    taken_back: Mapping[str, str]
    last_end: ReleaseEnd | None

    def to_json(self) -> dict[str, Any]:
        """The object that `status --json` prints."""
        return {
            "engine": self.engine,
            "in_service": self.in_service,
            "since": self.since,
            "services": {name: asdict(service) for name, service in self.services.items()},
            "running": self.running,
            "under_way": None if self.under_way is None else self.under_way.to_json(),
            "self_test": {**asdict(self.self_test), "share": self.self_test.share, "promise": PROMISE},
            "served_before": list(self.served_before),
            "taken_back": dict(self.taken_back),
            "last_end": None if self.last_end is None else to_json(self.last_end),
        }


def text_of(status: Status, *, as_json: bool) -> str:
    """The output of the command."""
    return (json.dumps(status.to_json(), indent=2) if as_json else "\n".join(lines_of(status, time.time()))) + "\n"


def gather(context: ReleaseContext, now: float) -> Status:
    """The status now, in seconds since 1970. Raises StateError where the state cannot be read."""
    state = load(context.folder)
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        found = pool.map(lambda service: _service(context, state, service), SERVICES)
        services = dict(zip(SERVICES, found, strict=True))
    versions = {each.version for name, each in services.items() if name.startswith("stable") and each.version is not None}
    return Status(
        engine=any(each.error is None for each in services.values()) or context.stack.has_engine(),
        in_service=versions.pop() if state.in_service is None and len(versions) == 1 else state.in_service,
        since=state.since or None,
        services=services,
        running=holder(context.folder / LOCK) if is_held(context.folder / LOCK) else None,
        under_way=None if state.under_way is None else _under_way(context, state.under_way, now),
        self_test=false_alarm_rate(end.false_alarm for end in state.ends if end.false_alarm is not None),
        served_before=state.served,
        taken_back=state.taken_back,
        last_end=state.ends[-1] if state.ends else None,
    )


def _service(context: ReleaseContext, state: ReleaseState, service: str) -> ServiceStatus:
    slot = state.slots[service]
    image = None if slot is None else f"{context.stack.repository}:{slot.tag}"
    status = ServiceStatus(image, expected=slot is not None)
    try:
        container = context.stack.container(service)
    except RunError as error:
        log.info("%s: %s", service, error)
        return replace(status, error=str(error))
    if container is None or not container.running:
        return status
    status = replace(status, image=container.image, since=container.started, healthy=container.is_healthy)
    try:
        ready = readiness(container.address, READY_SECONDS)
    except RunError as error:
        log.info("%s: %s", service, error)
        return status
    return replace(status, version=ready["version"], track=ready["track"])


def _under_way(context: ReleaseContext, rollout: Rollout, now: float) -> RolloutStatus:
    try:
        verdict = read_typed(context.folder / rollout.folder / bake.VERDICT, Verdict)
    except StateError:
        verdict = None
    left = max(0.0, context.settings.canary_bake_minutes - rollout.minutes(now)) if rollout.step == "bake" else None
    return RolloutStatus(rollout, round(max(0.0, rollout.minutes(now)), 2), left, verdict)


def lines_of(status: Status, now: float) -> list[str]:
    """The lines for people. Pure."""
    since = f", since {utc(status.since)}" if status.since else ""
    in_service = "nothing that is known" if status.in_service is None else f"version {status.in_service}"
    services = [f"services      {NO_ENGINE}"]
    if status.engine:
        services = [_service_line(name, each, now) for name, each in status.services.items()]
    return [
        f"in service    {in_service}{since}",
        *services,
        *_release_lines(status, now),
        f"false alarms  {status.self_test}, promised at most {PROMISE:.0%}",
        f"taken back    {_listed(status.taken_back)}",
        f"last end      {_end(status.last_end)}",
    ]


def _service_line(name: str, service: ServiceStatus, now: float) -> str:
    if service.error is not None:
        return f"{name:<14}not known: {next(iter(service.error.splitlines()), '')}"
    if service.since is None:
        return f"{name:<14}{'MISSING: docker compose up -d ' + name if service.expected else 'taken out'}"
    up = minutes_of(now - datetime.fromisoformat(service.since[:19] + "+00:00").timestamp())
    version = "gives no answer" if service.version is None else f"version {service.version}, {service.track}"
    return f"{name:<14}{version}, {'healthy' if service.healthy else 'NOT HEALTHY'}, up {up}, {service.image}"


def _release_lines(status: Status, now: float) -> list[str]:
    if status.under_way is None:
        return ["under way     nothing"]
    rollout, verdict = status.under_way.rollout, status.under_way.verdict
    by = status.running or "NOBODY RUNS IT: scripts/deploy.sh resume"
    left = "" if status.under_way.minutes_left is None else f", {minutes_of(60 * status.under_way.minutes_left)} left"
    began = f"since {utc(rollout.began)} ({minutes_of(now - rollout.began)})"
    lines = [
        f"under way     {rollout.kind} of version {rollout.version}: {rollout.step}{left}, {began}",
        f"run by        {by}",
    ]
    if verdict is not None:
        readings = "; ".join(f"{each.message} ({_outcome(each)})" for each in verdict.readings)
        lines.append(f"evidence      {verdict.decision}: {readings}")
    return lines


def _outcome(reading: Reading) -> str:
    return f"{reading.outcome}{'' if reading.required else ', advisory'}"


def _listed(taken_back: Mapping[str, str]) -> str:
    return ", ".join(f"{version} ({why})" for version, why in taken_back.items()) or "none"


def _end(end: ReleaseEnd | None) -> str:
    if end is None:
        return "none yet"
    why = f": {'; '.join(end.reasons)}" if end.reasons else ""
    return f"version {end.version} {end.ending} at {utc(end.ended)}, by {end.who}{why}"
