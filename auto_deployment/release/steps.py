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
from auto_deployment.release.nginx_upstream import drain_set
from auto_deployment.release.preflight import version_in_tree
from auto_deployment.release.services import CANARY
from auto_deployment.release.state import load, save
from auto_deployment.release.state_machine import PROMOTES, Ending, ReleaseStep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from auto_deployment.online_evaluation.watched_counts import WatchedCounts
    from auto_deployment.release.analysis.verdict import Verdict
    from auto_deployment.release.context import ReleaseContext
    from auto_deployment.release.services import Slot, Slots
    from auto_deployment.release.state_machine import Rollout

# Two scrapes, so that the first observation has the counters after the warm-up, and counts from there.
SETTLE_SECONDS = 11.0
# A version whose data are two days old catches up in this time.
FRESH_SECONDS = 1800.0
FRESH_ENOUGH_SECONDS = 60.0
# The folder that the image is built from, in the release's folder while the build runs.
BUILD_CONTEXT = "context"


class _RequestedEndError(Exception):
    """A request ends the release during its step."""


class Steps:
    """`note` saves a rollout to the disk; `apply_requests` applies the requests of operators."""

    def __init__(
        self, context: ReleaseContext, note: Callable[[Rollout], Rollout], apply_requests: Callable[[Rollout], Rollout]
    ) -> None:
        self._context = context
        self._stack = context.stack
        self._note = note
        self._apply_requests = apply_requests
        self._actions = {
            ReleaseStep.BUILD: self._build,
            ReleaseStep.SHADOW: self._shadow,
            ReleaseStep.LEAVE: self._leave,
            ReleaseStep.REPLACE: self._replace,
            ReleaseStep.WARM: self._warm,
            ReleaseStep.ENTER: self._enter,
            ReleaseStep.BAKE: self._bake,
            **dict.fromkeys(PROMOTES, self._promote),
            ReleaseStep.KEEP: self._keep,
            ReleaseStep.WITHDRAW: self._withdraw,
            ReleaseStep.UNDO: self._undo,
        }

    def do(self, rollout: Rollout) -> Rollout:
        """The rollout after its step. Raises RunError where the step fails."""
        return self._actions[rollout.step](rollout)

    @property
    def _slots(self) -> Slots:
        return load(self._context.folder).slots

    def _set_slot(self, service: str, slot: Slot | None) -> Slots:
        state = load(self._context.folder).with_slot(service, slot)
        save(self._context.folder, state)
        return state.slots

    def _build(self, rollout: Rollout) -> Rollout:
        name = image_commands.image_of(self._stack.repository, rollout.version)
        context = self._context.folder / rollout.folder / BUILD_CONTEXT
        try:
            self._copy_context(context, rollout.version)
            self._stack.run(image_commands.build(self._stack.docker, name, context), docker_commands.BUILD_SECONDS)
        finally:
            shutil.rmtree(context, ignore_errors=True)
        return state_machine.step_done(replace(rollout, image=self._stack.image_id(rollout.tag) or ""))

    def _copy_context(self, context: Path, version: int) -> None:
        """Copy the release's own code and the tree's model to `context`, which no later deploy changes.

        Raises RunError when the tree holds another version, or a part of one.
        """
        shutil.rmtree(context, ignore_errors=True)
        try:
            image_commands.copy_context(self._context.settings.data_dir, context)
            copied, model = version_in_tree(context / "data"), read_metadata(context / "data" / "model")["version"]
        except (OSError, shutil.Error, ArtifactError) as error:
            raise RunError(f"the image's code and model cannot be copied to {context}: {error}") from error
        if copied != version:
            raise RunError(f"the tree holds version {copied} by now: release that one")
        if model != version:
            raise RunError(f"{self._context.settings.data_dir / 'model'} holds version {model}, not {version}: run this again")

    def _shadow(self, rollout: Rollout) -> Rollout:
        """Run the shadow until it ends, or until a request ends the release."""

        def check_requests() -> None:
            nonlocal rollout
            rollout = self._apply_requests(rollout)
            if rollout.ending is not None:
                raise _RequestedEndError

        try:
            found = self._context.shadow(self._context, rollout, check_requests)
        except _RequestedEndError:
            return rollout
        self._context.record_event(rollout, found.summary())
        if found.reasons:
            return state_machine.ended_early(rollout, Ending.REFUSED, *found.reasons)
        return state_machine.step_done(rollout)

    def _leave(self, rollout: Rollout) -> Rollout:
        self._stack.route(self._slots, {CANARY})
        return state_machine.step_done(rollout)

    def _replace(self, rollout: Rollout) -> Rollout:
        self._stack.tag(rollout.image, rollout.tag)
        self._stack.replace(CANARY, self._set_slot(CANARY, state_machine.canary_slot(rollout)))
        return state_machine.step_done(rollout)

    def _warm(self, rollout: Rollout) -> Rollout:
        self._stack.smoke(CANARY, rollout.version, "canary")
        rollout = self._wait_until_fresh(rollout)
        return rollout if rollout.ending is not None else state_machine.step_done(rollout)

    def _wait_until_fresh(self, rollout: Rollout) -> Rollout:
        """Wait until the canary's answers follow the stream as the stable ones do: it is not to be judged for a late start.

        After `FRESH_SECONDS` it bakes as it is. A request may end the wait.
        """
        until = self._context.uptime() + FRESH_SECONDS
        while self._context.settings.fresh and rollout.ending is None and not rollout.promoted_by:
            as_of = self._stack.fresh_as_of(CANARY)
            if as_of is None or self._context.now() - as_of <= FRESH_ENOUGH_SECONDS:
                break
            if self._context.uptime() >= until:
                self._context.record_event(rollout, f"after {FRESH_SECONDS:g} s the canary is not fresh yet: it bakes as it is")
                break
            self._context.sleep(1.0)
            rollout = self._apply_requests(rollout)
        return rollout

    def _enter(self, rollout: Rollout) -> Rollout:
        self._stack.route(self._slots, drain=False)
        began, uptime = self._context.now() + SETTLE_SECONDS, self._context.uptime() + SETTLE_SECONDS
        return state_machine.step_done(
            replace(rollout, bake_began=began, bake_uptime=uptime, entered=began, boot=self._context.boot)
        )

    def _bake(self, rollout: Rollout) -> Rollout:
        """Observe until the verdict decides, or until a request does."""
        folder, limits = self._context.folder / rollout.folder, self._context.limits
        next_observation = max(self._context.uptime(), rollout.bake_uptime or 0.0)
        while rollout.step == ReleaseStep.BAKE and rollout.ending is None:
            if rollout.promoted_by:
                self._context.record_event(rollout, f"promoted before its time: {rollout.promoted_by} asked for it")
                return state_machine.step_done(rollout)
            if self._context.uptime() >= next_observation:
                next_observation = self._context.uptime() + limits.check_seconds
                rollout = self._with_corrected_clock(rollout)
                found = bake.observe(folder, rollout, self._context.prometheus, limits, self._context.now(), self._watched)
                metrics.write_check_time(self._context.settings.log_dir, self._context.now())
                self._record_verdict(rollout, found)
                rollout = state_machine.apply_verdict(rollout, found.decision, found.reasons)
            else:
                self._context.sleep(min(1.0, limits.check_seconds))
                rollout = self._apply_requests(rollout)
        return rollout

    def _with_corrected_clock(self, rollout: Rollout) -> Rollout:
        """The rollout with corrected times, saved, where somebody has set the clock."""
        timed = state_machine.with_corrected_clock(rollout, self._context.now(), self._context.uptime())
        return rollout if timed is rollout else self._note(timed)

    def _watched(self, rollout: Rollout, now: float, known: WatchedCounts | None) -> WatchedCounts:
        return watched_counts(self._context.settings, rollout.version, rollout.entered or rollout.bake_began or now, now, known)

    def _record_verdict(self, rollout: Rollout, found: Verdict) -> None:
        known = found.reasons or found.missing
        why = f": {'; '.join(known)}" if known else ""
        self._context.record_event(rollout, f"{max(0.0, found.minutes):.1f} min: {found.decision}{why}")

    def _promote(self, rollout: Rollout) -> Rollout:
        service = PROMOTES[rollout.step]
        if self._slots[service] is not None:
            self._stack.tag(rollout.image, rollout.tag)
            self._exchange(rollout, service, state_machine.promoted_slot(rollout))
        return state_machine.step_done(rollout)

    def _exchange(self, rollout: Rollout, service: str, slot: Slot, unhealthy: Collection[str] = ()) -> None:
        """Drain a service, run `slot` in it, try it, and send it traffic again. Other `unhealthy` services get none."""
        self._stack.route(self._slots, drain_set(self._slots, service, unhealthy))
        self._stack.replace(service, self._set_slot(service, slot))
        version = rollout.version if slot.tag == rollout.tag else rollout.replaces
        self._stack.smoke(service, version, slot.track)
        self._stack.route(self._slots, set(unhealthy) - {service}, drain=False)

    def _keep(self, rollout: Rollout) -> Rollout:
        """Tag the image as `stable`, the tag that a stack without a release starts from."""
        self._stack.tag(rollout.image, "stable")
        return state_machine.step_done(rollout)

    def _withdraw(self, rollout: Rollout) -> Rollout:
        self._withdraw_canary()
        return state_machine.step_done(rollout)

    def _withdraw_canary(self, unhealthy: Collection[str] = ()) -> None:
        slots = self._set_slot(CANARY, None)
        self._stack.withdraw(slots, drain_set(slots, CANARY, unhealthy))
        self._stack.remove(CANARY, slots)

    def _undo(self, rollout: Rollout) -> Rollout:
        """Bring back what the services ran before. A release's canary is withdrawn first.

        Unhealthy services come first and get traffic last: what has just failed must not get the remaining traffic.
        """
        unhealthy = self._stack.unhealthy(self._slots)
        if rollout.kind == "release":
            self._withdraw_canary(unhealthy)
        back = state_machine.to_bring_back(rollout)
        for service in sorted(back, key=lambda name: name not in unhealthy):
            self._exchange(rollout, service, back[service], unhealthy)
            unhealthy.discard(service)
        self._stack.route(self._slots, drain=False)
        return state_machine.step_done(rollout)
