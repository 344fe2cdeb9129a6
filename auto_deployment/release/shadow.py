"""The shadow: the version's image and the one in service, in containers without traffic, answer the same requests."""

from __future__ import annotations

import logging
import random
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from app.model import ArtifactError, load_serving
from app.provenance import DatabaseError
from app.provenance.archive import Archive
from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import write_json_synced
from auto_deployment.common.process import CommandError
from auto_deployment.release import docker_commands
from auto_deployment.release.probe import UNKNOWN_USER, request_lists, wait_ready
from auto_deployment.release.services import STABLES
from auto_deployment.release.shadow_result import compare_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from auto_deployment.release.context import ReleaseContext
    from auto_deployment.release.shadow_result import ShadowResult
    from auto_deployment.release.stack import Stack
    from auto_deployment.release.state_machine import Rollout

log = logging.getLogger(__name__)

MOST, LEAST = 3000, 1000


def choose(database_url: str | None, model: Path, seed: int) -> tuple[list[int], str]:
    """The users to request lists for, and their source. Raises ArtifactError where the artifact cannot be read."""
    recorded = recorded_users(database_url)
    if len(recorded) >= LEAST:
        return recorded, "recorded"
    known = load_serving(model).users
    chance = random.Random(seed)  # noqa: S311 - no secret
    return [int(known[chance.randrange(len(known))]) for _ in range(MOST)], "drawn from the artifact"


def recorded_users(database_url: str | None) -> list[int]:
    """The users of the last few thousand requests, newest first; empty where there is no database."""
    if database_url is None:
        return []
    try:
        with closing(Archive(database_url)) as archive:
            return archive.last_users(MOST)
    except DatabaseError as error:
        log.warning("there are no recorded requests (%s)", error)
        return []


FILE = "shadow.json"
READY_SECONDS = 60.0
WARM_USERS = 50
# Three thousand answers take some ten seconds; a version that hangs would take an hour.
WARM_SECONDS, ASK_SECONDS = 60.0, 300.0


class NeverReadyError(RunError):
    """The version's container never gets ready. No user was affected."""


def shadow(context: ReleaseContext, rollout: Rollout, check: Callable[[], None]) -> ShadowResult:
    """Run the shadow and keep its result in the release's folder. `check` is called twice a second; its errors end the run.

    Raises NeverReadyError, and RunError where the shadow cannot run. Where a version is too slow to answer all users in time,
    its answers so far are compared.
    """
    try:
        users, source = choose(context.settings.database_url, context.settings.data_dir / "model", rollout.version)
    except ArtifactError as error:
        raise RunError(str(error)) from error
    stable = context.stack.container("stable-1")
    if stable is None:
        raise RunError("stable-1 is gone: bring the stack up (docker compose up -d --wait) and release again")
    candidate, in_service = names(stable.name)
    with (
        _running(context.stack, candidate, stable.network, rollout.image, check) as new,
        _running(context.stack, in_service, stable.network, stable.image_id, check) as old,
    ):
        began = time.monotonic()
        request_lists([new, old], users[:WARM_USERS], began + WARM_SECONDS, check)
        answers, others = request_lists([new, old], users, began + ASK_SECONDS, check)
        popular = [each[0].films for each in request_lists([new, old], [UNKNOWN_USER])]
    if not answers:
        raise RunError(f"no answer at all within {ASK_SECONDS:g} s")
    found = compare_answers(answers, others, (popular[0], popular[1]), source, context.limits)
    write_json_synced(context.folder / rollout.folder / FILE, {**asdict(found), "at": time.time()}, public=True)
    return found


def names(service: str) -> tuple[str, str]:
    """The names of a shadow's two containers, the version's and the one in service, from a service's container name."""
    project = service.rsplit("-stable-", 1)[0]
    return f"{project}-shadow-new", f"{project}-shadow-old"


def clear(stack: Stack) -> None:
    """Remove the containers that a killed shadow left. Without an engine, the next shadow removes them."""
    try:
        found = next((each for each in map(stack.container, STABLES) if each is not None), None)
        if found is not None:
            stack.run(docker_commands.remove_container(stack.docker, *names(found.name)))
    except CommandError as error:
        log.warning("containers of a shadow may be left (%s)", error)


@contextmanager
def _running(stack: Stack, name: str, network: str, image: str, check: Callable[[], None]) -> Iterator[str]:
    """Run a container; its address once it is ready. It is removed afterwards, and so is one that a killed run left."""
    stack.run(docker_commands.remove_container(stack.docker, name))
    try:
        stack.run(docker_commands.shadow(stack.docker, name, network, image))
        yield _ready_address(stack, name, check)
    finally:
        with suppress(CommandError):
            stack.run(docker_commands.remove_container(stack.docker, name))


def _ready_address(stack: Stack, name: str, check: Callable[[], None]) -> str:
    container = stack.inspect(name)
    try:
        wait_ready(container.address or "127.0.0.1", READY_SECONDS, check)
    except RunError as error:
        last = stack.run(docker_commands.last_log_line(stack.docker, name))
        raise NeverReadyError(f"never ready within {READY_SECONDS:g} s: {error}; its last words: {last or 'none'}") from error
    return container.address
