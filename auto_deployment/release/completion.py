"""A release's end: it is recorded with its evidence, people are notified, and files that nobody needs any more are removed."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from auto_deployment import notify
from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import StateError, read_typed, to_json, write_json_synced, write_synced
from auto_deployment.common.process import CommandError
from auto_deployment.release import bake, docker_commands, metrics, shadow
from auto_deployment.release.analysis.verdict import Verdict
from auto_deployment.release.context import EVENTS
from auto_deployment.release.image_commands import image_of
from auto_deployment.release.notices import notice_of
from auto_deployment.release.page import page
from auto_deployment.release.state import load, save
from auto_deployment.versioning.repository import tag_of

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.release.analysis.readings import Reading
    from auto_deployment.release.context import ReleaseContext
    from auto_deployment.release.state import ReleaseEnd, ReleaseState
    from auto_deployment.release.state_machine import Rollout

log = logging.getLogger(__name__)

# After this time a notice is no news any more.
NOTIFY_SECONDS = 24 * 3600.0
END, REPORT = "end.json", "report.html"


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
    for end in unnotified:
        _report(context, end)
        _notify(context, end)
    metrics.write_metrics(context.settings.log_dir, load(context.folder))
    if unnotified:
        _prune(context, state)


def _report(context: ReleaseContext, end: ReleaseEnd) -> None:
    """Write the report page. A page that cannot be drawn must not stop a notice."""
    folder = context.folder / end.folder
    try:
        write_synced(folder / REPORT, page(folder, end, context.limits).encode())
    except (RunError, OSError, ValueError, KeyError) as error:
        log.warning("%s cannot be written (%s)", folder / REPORT, error)


def _notify(context: ReleaseContext, end: ReleaseEnd) -> None:
    """Send the notice by each channel that has not accepted it yet. Each acceptance is saved before the next try."""
    notice = notice_of(end, _last_readings(context.folder / end.folder / bake.VERDICT))
    left = [channel for channel in context.channels if channel.name not in end.notified_by]
    for channel in left:
        if not notify.deliver(notice, [channel], context.sleep):
            end = _save_end(context, replace(end, notified_by=(*end.notified_by, channel.name)))
    missing = [channel.name for channel in left if channel.name not in end.notified_by]
    if missing and context.now() - end.ended < NOTIFY_SECONDS:
        return
    if missing:
        log.error("%s: given up after a day: %s", ", ".join(missing), notice.subject)
    with (context.folder / end.folder / EVENTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"at": round(context.now(), 3), "step": "told", "said": notice.subject}) + "\n")
    _save_end(context, replace(end, notified=True))


def _last_readings(path: Path) -> tuple[Reading, ...]:
    """The readings of the last verdict. A damaged file must not stop a notice."""
    try:
        verdict = read_typed(path, Verdict)
    except StateError as error:
        log.warning("%s", error)
        return ()
    return verdict.readings if verdict else ()


def _save_end(context: ReleaseContext, end: ReleaseEnd) -> ReleaseEnd:
    state = load(context.folder)
    ends = tuple(end if (each.folder, each.ended) == (end.folder, end.ended) else each for each in state.ends)
    save(context.folder, replace(state, ends=ends))
    return end


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
