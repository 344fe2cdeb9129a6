"""How a release begins: whether it may, and with what it goes under way."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from app.model import ArtifactError, read_metadata, read_version
from auto_deployment.common.errors import RefusedError, RunError
from auto_deployment.common.process import Commands
from auto_deployment.release import docker_commands, probe
from auto_deployment.release.services import STABLES
from auto_deployment.release.state import load, save
from auto_deployment.release.state_machine import Rollout, first_step
from auto_deployment.versioning.repository import remove_stale_locks, tag_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from auto_deployment.release.context import ReleaseContext
    from auto_deployment.release.state import ReleaseState

PULL_SECONDS = 1800.0


def version_in_tree(data: Path) -> int:
    """The number in `version.txt`. Raises RunError if the file holds no number of a version."""
    try:
        return read_version(data)
    except ArtifactError as error:
        raise RunError(f"{error}: it should hold the version's number") from error


def refusal(state: ReleaseState, version: int, *, again: bool) -> str:
    """Why `version` is not to be released; empty where it is. Pure."""
    if state.in_service is not None and version < state.in_service:
        return f"version {version} is older than the one in service ({state.in_service}): rollback {version} goes back to it"
    if (why := state.taken_back.get(str(version))) and not again:
        return f"version {version} was {why} before, and is not released again by itself: --again does it"
    return ""


def release(context: ReleaseContext, version: int, who: str, *, again: bool, shadow: bool) -> bool:
    """Put the release of the version in the tree under way; False where it is in service already.

    Raises RefusedError where it may not be released, RunError where it cannot.
    """
    if version == 0:
        raise RefusedError("data/version.txt says 0: there is no version to release yet")
    state = _adopted(context)
    if version == state.in_service:
        return False
    if why := refusal(state, version, again=again):
        raise RefusedError(why)
    _have_model(context, version)
    _under_way(context, state, "release", version, who, shadowed=shadow)
    return True


def rollback(context: ReleaseContext, version: int | None, who: str) -> None:
    """Put a rollback under way, to the version before the one in service where none is named. Raises RefusedError."""
    state = load(context.folder)
    if state.under_way is not None:
        raise RefusedError(f"version {state.under_way.version} is under way, and nobody runs it: resume or abort it first")
    target = previous(state) if version is None else version
    if target is None or state.in_service is None:
        raise RefusedError("there is no version to roll back to: none was in service before this one")
    if target == state.in_service:
        raise RefusedError(f"version {target} is in service already")
    image = context.stack.image_id(tag_of(target))
    if image is None:
        kept = ", ".join(map(str, state.served[-context.settings.keep_images :])) or "none"
        raise RefusedError(
            f"the image of version {target} is not on this machine (kept: {kept}): "
            "docs/operations.md says how to build it again"
        )
    _under_way(context, state, "rollback", target, who, image=image)


def previous(state: ReleaseState) -> int | None:
    """The version to roll back to by default: the last one in service below the one that is. Pure."""
    before = [version for version in state.served if state.in_service is not None and version < state.in_service]
    return before[-1] if before else None


def _under_way(
    context: ReleaseContext,
    state: ReleaseState,
    kind: Literal["release", "rollback"],
    version: int,
    who: str,
    *,
    image: str = "",
    shadowed: bool = True,
) -> None:
    now = round(context.now(), 3)
    rollout = Rollout(
        kind,
        version,
        state.in_service or 0,
        who,
        now,
        f"{version}-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}",
        first_step(kind),
        before=state.slots,
        image=image,
        boot=context.boot,
        shadowed=shadowed,
    )
    save(context.folder, replace(state, under_way=rollout))
    context.record_event(rollout, f"{kind}, by {who}, replacing version {rollout.replaces}")


def _adopted(context: ReleaseContext) -> ReleaseState:
    """The state; before the first release, what the stable services run is in service, and its image is kept for a rollback.

    Raises RunError where they do not run, or not the same.
    """
    state = load(context.folder)
    if state.in_service is not None:
        return state
    found = {service: context.stack.container(service) for service in STABLES}
    running = {service: each for service, each in found.items() if each is not None and each.is_healthy}
    if len(running) < len(STABLES):
        missing = ", ".join(service for service in STABLES if service not in running)
        raise RunError(f"{missing}: not healthy: bring the stack up (docker compose up -d --wait), and release again")
    versions = {int(probe.readiness(each.address)["version"]) for each in running.values()}
    if len(versions) > 1:
        raise RunError(f"the stable services run versions {versions}: bring them to one (docker compose up -d --wait)")
    version = versions.pop()
    context.stack.tag(running["stable-1"].image_id, tag_of(version))
    adopted = replace(state, in_service=version, since=context.now())
    save(context.folder, adopted)
    return adopted


def _have_model(context: ReleaseContext, version: int) -> None:
    """Have the tree hold the model of its version. Raises RunError if there is none."""
    model = context.settings.data_dir / "model"
    if _model_version(model) == version:
        return
    if model.with_name("model.dvc").exists():
        remove_stale_locks(context.root)
        command = docker_commands.pull_model(sys.executable, model, context.settings.dvc_remote)
        Commands(context.root, apart=True).run(*command, seconds=PULL_SECONDS)
    if (found := _model_version(model)) != version:
        raise RunError(
            f"{model} holds version {found}, and data/version.txt names {version}: run `dvc pull`, and release again"
        )


def _model_version(model: Path) -> int | None:
    try:
        return int(read_metadata(model)["version"])
    except (ArtifactError, KeyError, ValueError):
        return None
