"""The steps of a release, as actions on the stack. Each can be done again from its beginning."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from app.model import ArtifactError, read_metadata
from auto_deployment.common.errors import RunError
from auto_deployment.online_evaluation.bake import watched_counts
from auto_deployment.pipeline import metrics
from auto_deployment.release import bake, docker_commands, image_commands, state_machine
from auto_deployment.release.nginx_upstream import spared
from auto_deployment.release.preflight import version_in_tree
from auto_deployment.release.services import CANARY
from auto_deployment.release.state import load, save
from auto_deployment.release.state_machine import PROMOTES, Ending, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from auto_deployment.online_evaluation.watched_counts import WatchedCounts
    from auto_deployment.release.analysis.verdict import Verdict
    from auto_deployment.release.context import Tools
    from auto_deployment.release.services import Slot, Slots
    from auto_deployment.release.state_machine import Rollout

# Two scrapes, so that the first look finds what the warm-up left, and counts from there.
SETTLE_SECONDS = 11.0
# What the image is built from, in the release's folder while it is built.
CONTEXT = "context"


class _GivenUpError(Exception):
    """A request that came meanwhile ends the step of the release."""


class Steps:
    """`note` keeps a rollout on the disk; `see_to_wishes` gives the requests that came meanwhile."""

    def __init__(self, tools: Tools, note: Callable[[Rollout], Rollout], see_to_wishes: Callable[[Rollout], Rollout]) -> None:
        self._tools = tools
        self._stack = tools.stack
        self._note = note
        self._see_to_wishes = see_to_wishes
        self._actions = {
            Step.BUILD: self._build,
            Step.SHADOW: self._shadow,
            Step.LEAVE: self._leave,
            Step.REPLACE: self._replace,
            Step.WARM: self._warm,
            Step.ENTER: self._enter,
            Step.BAKE: self._bake,
            **dict.fromkeys(PROMOTES, self._promote),
            Step.KEEP: self._keep,
            Step.WITHDRAW: self._withdraw,
            Step.UNDO: self._undo,
        }

    def do(self, rollout: Rollout) -> Rollout:
        """The rollout after its step. Raises RunError where that cannot be done."""
        return self._actions[rollout.step](rollout)

    @property
    def _slots(self) -> Slots:
        return load(self._tools.folder).slots

    def _set_slot(self, service: str, slot: Slot | None) -> Slots:
        state = load(self._tools.folder).with_slot(service, slot)
        save(self._tools.folder, state)
        return state.slots

    def _build(self, rollout: Rollout) -> Rollout:
        name = image_commands.image_of(self._stack.repository, rollout.version)
        context = self._tools.folder / rollout.folder / CONTEXT
        try:
            self._copy_context(context, rollout.version)
            self._stack.run(image_commands.build(self._stack.docker, name, context), docker_commands.BUILD_SECONDS)
        finally:
            shutil.rmtree(context, ignore_errors=True)
        return state_machine.done(replace(rollout, image=self._stack.image_id(rollout.tag) or ""))

    def _copy_context(self, context: Path, version: int) -> None:
        """Copy the release's own code and the tree's model to `context`, which no later deploy changes.

        Raises RunError when the tree holds another version, or a part of one.
        """
        shutil.rmtree(context, ignore_errors=True)
        try:
            image_commands.copy_context(self._tools.settings.data_dir, context)
            copied, model = version_in_tree(context / "data"), read_metadata(context / "data" / "model")["version"]
        except (OSError, shutil.Error, ArtifactError) as error:
            raise RunError(f"the image's code and model cannot be copied to {context}: {error}") from error
        if copied != version:
            raise RunError(f"the tree holds version {copied} by now: release that one")
        if model != version:
            raise RunError(f"{self._tools.settings.data_dir / 'model'} holds version {model}, not {version}: run this again")

    def _shadow(self, rollout: Rollout) -> Rollout:
        """Try it, or until somebody asks for something else."""

        def look() -> None:
            nonlocal rollout
            rollout = self._see_to_wishes(rollout)
            if rollout.ending is not None:
                raise _GivenUpError

        try:
            found = self._tools.shadow(self._tools, rollout, look)
        except _GivenUpError:
            return rollout
        self._tools.say(rollout, found.said())
        if found.reasons:
            return state_machine.given_up(rollout, Ending.REFUSED, *found.reasons)
        return state_machine.done(rollout)

    def _leave(self, rollout: Rollout) -> Rollout:
        self._stack.route(self._slots, {CANARY})
        return state_machine.done(rollout)

    def _replace(self, rollout: Rollout) -> Rollout:
        self._stack.tag(rollout.image, rollout.tag)
        self._stack.replace(CANARY, self._set_slot(CANARY, state_machine.canary_slot(rollout)))
        return state_machine.done(rollout)

    def _warm(self, rollout: Rollout) -> Rollout:
        self._stack.smoke(CANARY, rollout.version, "canary")
        return state_machine.done(rollout)

    def _enter(self, rollout: Rollout) -> Rollout:
        self._stack.route(self._slots, drain=False)
        began, uptime = self._tools.now() + SETTLE_SECONDS, self._tools.uptime() + SETTLE_SECONDS
        return state_machine.done(replace(rollout, bake_began=began, bake_uptime=uptime, entered=began, boot=self._tools.boot))

    def _bake(self, rollout: Rollout) -> Rollout:
        """Look until it is decided, or until somebody asks for something else."""
        folder, limits = self._tools.folder / rollout.folder, self._tools.limits
        next_look = max(self._tools.uptime(), rollout.bake_uptime or 0.0)
        while rollout.step == Step.BAKE and rollout.ending is None:
            if rollout.urged:
                self._tools.say(rollout, f"promoted before its time: {rollout.urged} asked for it")
                return state_machine.done(rollout)
            if self._tools.uptime() >= next_look:
                next_look = self._tools.uptime() + limits.check_seconds
                rollout = self._timed(rollout)
                judged = bake.look(folder, rollout, self._tools.prometheus, limits, self._tools.now(), self._watched)
                metrics.tell_look(self._tools.settings.log_dir, self._tools.now())
                self._tell(rollout, judged)
                rollout = state_machine.judged(rollout, judged.end, judged.reasons)
            else:
                self._tools.sleep(min(1.0, limits.check_seconds))
                rollout = self._see_to_wishes(rollout)
        return rollout

    def _timed(self, rollout: Rollout) -> Rollout:
        """On the disk too, where the clock was set."""
        timed = state_machine.kept_time(rollout, self._tools.now(), self._tools.uptime())
        return rollout if timed is rollout else self._note(timed)

    def _watched(self, rollout: Rollout, now: float, known: WatchedCounts | None) -> WatchedCounts:
        return watched_counts(self._tools.settings, rollout.version, rollout.entered or rollout.bake_began or now, now, known)

    def _tell(self, rollout: Rollout, judged: Verdict) -> None:
        known = judged.reasons or judged.missing
        why = f": {'; '.join(known)}" if known else ""
        self._tools.say(rollout, f"{max(0.0, judged.minutes):.1f} min: {judged.end}{why}")

    def _promote(self, rollout: Rollout) -> Rollout:
        service = PROMOTES[rollout.step]
        if self._slots[service] is not None:
            self._stack.tag(rollout.image, rollout.tag)
            self._exchange(rollout, service, state_machine.promoted_slot(rollout))
        return state_machine.done(rollout)

    def _exchange(self, rollout: Rollout, service: str, slot: Slot, unwell: Collection[str] = ()) -> None:
        """Drain a service, have it run `slot`, try it, and have it asked again; others that are `unwell` are not asked."""
        self._stack.route(self._slots, spared(self._slots, service, unwell))
        self._stack.replace(service, self._set_slot(service, slot))
        version = rollout.version if slot.tag == rollout.tag else rollout.replaces
        self._stack.smoke(service, version, slot.track)
        self._stack.route(self._slots, set(unwell) - {service}, drain=False)

    def _keep(self, rollout: Rollout) -> Rollout:
        """The name that everything else goes by, and that a stack without a release starts from."""
        self._stack.tag(rollout.image, "stable")
        return state_machine.done(rollout)

    def _withdraw(self, rollout: Rollout) -> Rollout:
        self._withdraw_canary()
        return state_machine.done(rollout)

    def _withdraw_canary(self, unwell: Collection[str] = ()) -> None:
        slots = self._set_slot(CANARY, None)
        self._stack.withdraw(slots, spared(slots, CANARY, unwell))
        self._stack.remove(CANARY, slots)

    def _undo(self, rollout: Rollout) -> Rollout:
        """Services that got the version run again what they ran before; a release's canary is withdrawn first.

        The unwell come first and are asked again last: what is left of the traffic must not go to what has just failed.
        """
        unwell = self._stack.unwell(self._slots)
        if rollout.kind == "release":
            self._withdraw_canary(unwell)
        back = state_machine.to_bring_back(rollout)
        for service in sorted(back, key=lambda name: name not in unwell):
            self._exchange(rollout, service, back[service], unwell)
            unwell.discard(service)
        self._stack.route(self._slots, drain=False)
        return state_machine.done(rollout)
