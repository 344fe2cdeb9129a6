"""A release's end: it is recorded with its evidence, people are notified, and files that nobody needs any more are removed."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from auto_deployment import notify
from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import read_json, write_json_synced, write_synced
from auto_deployment.common.process import CommandError
from auto_deployment.release import bake, docker_commands, metrics, shadow
from auto_deployment.release.context import EVENTS
from auto_deployment.release.image_commands import image_of, tag_of
from auto_deployment.release.notices import notice_of
from auto_deployment.release.page import page
from auto_deployment.release.state import load, save

if TYPE_CHECKING:
    from auto_deployment.release.context import Tools
    from auto_deployment.release.state import End, State
    from auto_deployment.release.state_machine import Rollout

log = logging.getLogger(__name__)

# A notice that no channel took for so long is of no news to anybody.
TELL_SECONDS = 24 * 3600.0
END, REPORT = "end.json", "report.html"


def finish(tools: Tools, rollout: Rollout) -> End:
    """Record the end of `rollout`, and do what follows from an end; that end."""
    if rollout.kind == "release" and rollout.shadowed:
        shadow.clear(tools.stack)
    folder = tools.folder / rollout.folder
    after = load(tools.folder).ended(rollout, tools.now(), false_alarm=bake.false_alarm(folder))
    why = f": {'; '.join(rollout.reasons)}" if rollout.reasons else ""
    tools.say(rollout, f"{rollout.ending}{why}")
    write_json_synced(folder / END, {**asdict(after.ends[-1]), "settings": asdict(tools.limits)})
    save(tools.folder, after)
    settle(tools)
    return after.ends[-1]


def settle(tools: Tools) -> None:
    """What ends that were recorded leave to do: report, notice, figures, images that are of no use now.

    The next call tries again to notify people who were not reached, for a day.
    """
    state = load(tools.folder)
    if not state.ends:
        return
    untold = [end for end in state.ends if not end.told]
    for end in untold:
        _report(tools, end)
        _tell(tools, end)
    metrics.tell(tools.settings.log_dir, load(tools.folder))
    if untold:
        _prune(tools, state)


def _report(tools: Tools, end: End) -> None:
    """Its page. A page that cannot be drawn must not stop a notice."""
    folder = tools.folder / end.folder
    try:
        write_synced(folder / REPORT, page(folder, end, tools.limits).encode())
    except (RunError, OSError, ValueError, KeyError) as error:
        log.warning("%s cannot be written (%s)", folder / REPORT, error)


def _tell(tools: Tools, end: End) -> None:
    """By each channel that has not taken it yet; what one has taken is kept before the next is tried."""
    readings = (read_json(tools.folder / end.folder / bake.VERDICT) or {"readings": ()})["readings"]
    notice = notice_of(end, tuple(readings))
    left = [channel for channel in tools.channels if channel.name not in end.told_by]
    for channel in left:
        if not notify.tell(notice, [channel], tools.sleep):
            end = _kept(tools, replace(end, told_by=(*end.told_by, channel.name)))
    missing = [channel.name for channel in left if channel.name not in end.told_by]
    if missing and tools.now() - end.ended < TELL_SECONDS:
        return
    if missing:
        log.error("%s: given up after a day: %s", ", ".join(missing), notice.subject)
    with (tools.folder / end.folder / EVENTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"at": round(tools.now(), 3), "step": "told", "said": notice.subject}) + "\n")
    _kept(tools, replace(end, told=True))


def _kept(tools: Tools, end: End) -> End:
    state = load(tools.folder)
    ends = tuple(end if (each.folder, each.ended) == (end.folder, end.ended) else each for each in state.ends)
    save(tools.folder, replace(state, ends=ends))
    return end


def _prune(tools: Tools, state: State) -> None:
    """Remove images of versions known to the release beyond KEEP_IMAGES; one that a container uses stays."""
    try:
        there = tools.stack.tags()
    except CommandError as error:
        log.warning("images that are of no use now stay (%s)", error)
        return
    for version in sorted(to_remove(state, tools.settings.keep_images)):
        if tag_of(version) in there:
            with suppress(CommandError):
                tools.stack.run(docker_commands.remove_image(tools.stack.docker, image_of(tools.stack.repository, version)))


def to_remove(state: State, keep: int) -> set[int]:
    """The versions whose images are of no use any more: neither run nor under way, nor among the last `keep` that served.

    Version 0 is in no commit: its image is all that there is of it.
    """
    known = {end.version for end in state.ends} | {end.replaces for end in state.ends}
    kept = {0, state.in_service, *state.served[-keep:]} if keep else {0, state.in_service}
    slots = [*state.slots.values()]
    if state.under_way is not None:
        kept |= {state.under_way.version, state.under_way.replaces}
        slots += state.under_way.before.values()
    tags = {slot.tag for slot in slots if slot is not None}
    return {version for version in known - kept if tag_of(version) not in tags}
