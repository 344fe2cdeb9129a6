"""A release's end: it is recorded with its evidence, people are notified, and files that nobody needs any more are removed."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from auto_deployment.common.json_file import to_json, write_json_synced
from auto_deployment.common.process import CommandError
from auto_deployment.release import bake, docker_commands, metrics, shadow
from auto_deployment.release.announcement import END, Announcer
from auto_deployment.release.image_commands import image_of
from auto_deployment.release.state import load, save
from auto_deployment.versioning.repository import tag_of

if TYPE_CHECKING:
    from auto_deployment.release.context import ReleaseContext
    from auto_deployment.release.state import ReleaseEnd, ReleaseState
    from auto_deployment.release.state_machine import Rollout

log = logging.getLogger(__name__)


def finish(context: ReleaseContext, rollout: Rollout) -> ReleaseEnd:
    """Record the end of `rollout` and settle it; the recorded end."""
    if rollout.kind == "release" and rollout.shadowed:
        shadow.clear(context.stack)
    folder = context.folder / rollout.folder
    after = load(context.folder).ended(rollout, context.now(), false_alarm=bake.false_alarm(folder))
    why = f": {'; '.join(rollout.reasons)}" if rollout.reasons else ""
    context.record_event(rollout, f"{rollout.ending}{why}")
    write_json_synced(folder / END, {**to_json(after.ends[-1]), "settings": asdict(context.limits)})
    save(context.folder, after)
    settle(context)
    return after.ends[-1]


def settle(context: ReleaseContext) -> None:
    """Do what follows from recorded ends: report, notice, metrics, removal of images that nobody needs.

    The next call tries again to notify people who were not reached, for a day.
    """
    state = load(context.folder)
    if not state.ends:
        return
    unnotified = [end for end in state.ends if not end.notified]
    announcer = Announcer(context.channels, context.limits, context.now, context.sleep)
    for end in unnotified:
        announcer.announce(context.folder / end.folder, end, partial(_save_end, context))
    metrics.write_metrics(context.settings.log_dir, load(context.folder))
    if unnotified:
        _prune(context, state)


def _save_end(context: ReleaseContext, end: ReleaseEnd) -> None:
    state = load(context.folder)
    ends = tuple(end if (each.folder, each.ended) == (end.folder, end.ended) else each for each in state.ends)
    save(context.folder, replace(state, ends=ends))


def _prune(context: ReleaseContext, state: ReleaseState) -> None:
    """Remove images of versions known to the release beyond KEEP_IMAGES; one that a container uses stays."""
    try:
        there = context.stack.tags()
    except CommandError as error:
        log.warning("images that nobody needs stay (%s)", error)
        return
    for version in sorted(to_remove(state, context.settings.keep_images)):
        if tag_of(version) in there:
            with suppress(CommandError):
                context.stack.run(
                    docker_commands.remove_image(context.stack.docker, image_of(context.stack.repository, version))
                )


def to_remove(state: ReleaseState, keep: int) -> set[int]:
    """The versions whose images nobody needs: neither running nor under way, nor among the last `keep` in service.

    Version 0 is in no commit, so its image is its only copy.
    """
    known = {end.version for end in state.ends} | {end.replaces for end in state.ends}
    return known - state.kept(keep) - {0}
