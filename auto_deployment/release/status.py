"""What `status` tells: gathered without waiting for anybody, as data, and as about ten lines made of it."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import StateError, read_json
from auto_deployment.common.time_format import minutes_of, utc
from auto_deployment.release import bake
from auto_deployment.release.analysis.aa_test import PROMISE, false_alarm_rate
from auto_deployment.release.lock import holder, is_held
from auto_deployment.release.probe import readiness
from auto_deployment.release.services import SERVICES
from auto_deployment.release.state import load

if TYPE_CHECKING:
    from auto_deployment.release.context import Tools
    from auto_deployment.release.state import State
    from auto_deployment.release.state_machine import Rollout

log = logging.getLogger(__name__)

READY_SECONDS = 1.0
NO_ENGINE = "no Docker engine answers: what runs is not known. Start Docker, or run scripts/dev engine"


def text_of(told: dict[str, Any], *, as_json: bool) -> str:
    """The text of the command, for what `gather` found."""
    return (json.dumps(told, indent=2) if as_json else "\n".join(lines_of(told, time.time()))) + "\n"


def gather(tools: Tools, now: float) -> dict[str, Any]:
    """The state, what each service runs, and the evidence so far. Times in seconds since 1970.

    Raises StateError when the state cannot be read. `engine` is False when no Docker engine answers.
    """
    state = load(tools.folder)
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        services = dict(zip(SERVICES, pool.map(lambda service: _service(tools, state, service), SERVICES), strict=True))
    versions = {each["version"] for name, each in services.items() if name.startswith("stable") and each["version"] is not None}
    return {
        "engine": any(each["error"] is None for each in services.values()) or tools.stack.has_engine(),
        "in_service": versions.pop() if state.in_service is None and len(versions) == 1 else state.in_service,
        "since": state.since or None,
        "services": services,
        "running": holder(tools.folder) if is_held(tools.folder) else None,
        "under_way": None if state.under_way is None else _under_way(tools, state.under_way, now),
        "self_test": {**_rate(state), "promise": PROMISE},
        "served_before": list(state.served),
        "taken_back": dict(state.taken_back),
        "last_end": asdict(state.ends[-1]) if state.ends else None,
    }


def _service(tools: Tools, state: State, service: str) -> dict[str, Any]:
    """What a service runs, by the engine and by itself. `error` has the engine's words when it gave no answer."""
    slot = state.slots[service]
    told: dict[str, Any] = {"image": None if slot is None else f"{tools.stack.repository}:{slot.tag}", "since": None}
    told |= {"healthy": False, "version": None, "track": None, "expected": slot is not None, "error": None}
    try:
        container = tools.stack.container(service)
    except RunError as error:
        log.info("%s: %s", service, error)
        return {**told, "error": str(error)}
    try:
        if container is not None and container.running:
            told |= {"image": container.image, "since": container.started, "healthy": container.is_healthy}
            ready = readiness(container.address, READY_SECONDS)
            told |= {"version": ready["version"], "track": ready["track"]}
    except RunError as error:
        log.info("%s: %s", service, error)
    return told


def _under_way(tools: Tools, rollout: Rollout, now: float) -> dict[str, Any]:
    folder = tools.folder / rollout.folder
    told = {name: value for name, value in asdict(rollout).items() if name != "before"}
    try:
        judged = read_json(folder / bake.VERDICT)
    except StateError:
        judged = None
    left = max(0.0, tools.settings.canary_bake_minutes - rollout.minutes(now)) if rollout.step == "bake" else None
    return {**told, "baked_minutes": round(max(0.0, rollout.minutes(now)), 2), "minutes_left": left, "verdict": judged}


def _rate(state: State) -> dict[str, Any]:
    return false_alarm_rate(end.false_alarm for end in state.ends if end.false_alarm is not None).to_dict()


def lines_of(told: dict[str, Any], now: float) -> list[str]:
    """The lines for people. Pure."""
    since = f", since {utc(told['since'])}" if told["since"] else ""
    in_service = "nothing that is known" if told["in_service"] is None else f"version {told['in_service']}"
    services = [f"services      {NO_ENGINE}"]
    if told["engine"]:
        services = [_service_line(name, each, now) for name, each in told["services"].items()]
    rate = told["self_test"]
    tested = (
        f"{rate['hits']} of {rate['count']} ({rate['low']:.1%} to {rate['high']:.1%}), promised at most {rate['promise']:.0%}"
    )
    return [
        f"in service    {in_service}{since}",
        *services,
        *_release_lines(told, now),
        f"false alarms  {tested}",
        f"taken back    {_listed(told['taken_back'])}",
        f"last end      {_end(told['last_end'])}",
    ]


def _service_line(name: str, service: dict[str, Any], now: float) -> str:
    if service["error"] is not None:
        return f"{name:<14}not known: {next(iter(service['error'].splitlines()), '')}"
    if service["since"] is None:
        return f"{name:<14}{'MISSING: docker compose up -d ' + name if service['expected'] else 'taken out'}"
    up = minutes_of(now - datetime.fromisoformat(service["since"][:19] + "+00:00").timestamp())
    version = "gives no answer" if service["version"] is None else f"version {service['version']}, {service['track']}"
    return f"{name:<14}{version}, {'healthy' if service['healthy'] else 'NOT HEALTHY'}, up {up}, {service['image']}"


def _release_lines(told: dict[str, Any], now: float) -> list[str]:
    rollout = told["under_way"]
    if rollout is None:
        return ["under way     nothing"]
    by = told["running"] or "NOBODY RUNS IT: scripts/deploy.sh resume"
    left = "" if rollout["minutes_left"] is None else f", {minutes_of(60 * rollout['minutes_left'])} left"
    began = f"since {utc(rollout['began'])} ({minutes_of(now - rollout['began'])})"
    lines = [
        f"under way     {rollout['kind']} of version {rollout['version']}: {rollout['step']}{left}, {began}",
        f"run by        {by}",
    ]
    if rollout["verdict"] is not None:
        said = "; ".join(f"{each['said']} ({_outcome(each)})" for each in rollout["verdict"]["readings"])
        lines.append(f"evidence      {rollout['verdict']['end']}: {said}")
    return lines


def _outcome(reading: dict[str, Any]) -> str:
    """A verdict that older code wrote does not say what is required: all was."""
    return f"{reading['outcome']}{'' if reading.get('required', True) else ', advisory'}"


def _listed(taken_back: dict[str, str]) -> str:
    return ", ".join(f"{version} ({why})" for version, why in taken_back.items()) or "none"


def _end(end: dict[str, Any] | None) -> str:
    if end is None:
        return "none yet"
    why = f": {'; '.join(end['reasons'])}" if end["reasons"] else ""
    return f"version {end['version']} {end['ending']} at {utc(end['ended'])}, by {end['who']}{why}"
