"""The shadow: the version's image and the one in service, in containers that nobody is sent to, asked for the same lists."""

from __future__ import annotations

import logging
import random
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from app.model import ArtifactError, load_serving
from app.provenance import DatabaseError
from app.provenance.archive import Archive
from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import write_json_synced
from auto_deployment.common.process import CommandError
from auto_deployment.release import docker_commands
from auto_deployment.release.probe import STRANGER, ask, wait_ready
from auto_deployment.release.services import STABLES
from auto_deployment.release.shadow_result import compared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from auto_deployment.release.context import Tools
    from auto_deployment.release.shadow_result import Shadow
    from auto_deployment.release.stack import Stack
    from auto_deployment.release.state_machine import Rollout

log = logging.getLogger(__name__)

MOST, LEAST = 3000, 1000


def choose(database_url: str | None, model: Path, seed: int) -> tuple[list[int], str]:
    """Users, and where they are from. Raises ArtifactError where the artifact cannot be read."""
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
    """The version's container never recommends: nothing of it was seen by anybody."""


def shadow(tools: Tools, rollout: Rollout, look: Callable[[], None]) -> Shadow:
    """Run it, keep its figures in the release's folder. What `look` raises, asked twice a second or so, ends it.

    Raises NeverReadyError, and RunError where it cannot be run. Of a version that is too slow to answer everybody in time,
    the answers so far are judged.
    """
    try:
        asked_for, source = choose(tools.settings.database_url, tools.settings.data_dir / "model", rollout.version)
    except ArtifactError as error:
        raise RunError(str(error)) from error
    stable = tools.stack.container("stable-1")
    if stable is None:
        raise RunError("stable-1 is gone: bring the stack up (docker compose up -d --wait) and release again")
    candidate, in_service = names(stable.name)
    with (
        _running(tools.stack, candidate, stable.network, rollout.image, look) as new,
        _running(tools.stack, in_service, stable.network, stable.image_id, look) as old,
    ):
        began = time.monotonic()
        ask([new, old], asked_for[:WARM_USERS], began + WARM_SECONDS, look)
        answers, others = ask([new, old], asked_for, began + ASK_SECONDS, look)
        popular = [each[0].films for each in ask([new, old], [STRANGER])]
    if not answers:
        raise RunError(f"no answer at all within {ASK_SECONDS:g} s")
    found = compared(answers, others, (popular[0], popular[1]), source, tools.limits)
    write_json_synced(tools.folder / rollout.folder / FILE, {**found.to_dict(), "at": time.time()})
    return found


def names(service: str) -> tuple[str, str]:
    """The containers of a shadow, of the name of a service's: the version's, and that of the one in service."""
    project = service.rsplit("-stable-", 1)[0]
    return f"{project}-shadow-new", f"{project}-shadow-old"


def clear(stack: Stack) -> None:
    """Remove what a shadow left that was killed. Again: does nothing. Where the engine is away, the next shadow does it."""
    try:
        found = next((each for each in map(stack.container, STABLES) if each is not None), None)
        if found is not None:
            stack.run(docker_commands.remove_container(stack.docker, *names(found.name)))
    except CommandError as error:
        log.warning("containers of a shadow may be left (%s)", error)


@contextmanager
def _running(stack: Stack, name: str, network: str, image: str, look: Callable[[], None]) -> Iterator[str]:
    """A container's address once it is ready; it is gone afterwards, and so is one that a killed run left."""
    stack.run(docker_commands.remove_container(stack.docker, name))
    try:
        stack.run(docker_commands.shadow(stack.docker, name, network, image))
        yield _ready_address(stack, name, look)
    finally:
        with suppress(CommandError):
            stack.run(docker_commands.remove_container(stack.docker, name))


def _ready_address(stack: Stack, name: str, look: Callable[[], None]) -> str:
    container = stack.inspect(name)
    try:
        wait_ready(container.address or "127.0.0.1", READY_SECONDS, look)
    except RunError as error:
        last = stack.run(docker_commands.last_words(stack.docker, name))
        raise NeverReadyError(f"never ready within {READY_SECONDS:g} s: {error}; its last words: {last or 'none'}") from error
    return container.address
