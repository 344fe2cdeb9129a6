"""Runs a release to its end: does the next step of the state, and records the result before anything else."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.release import bake, metrics, operator_requests, state_machine
from auto_deployment.release.completion import finish
from auto_deployment.release.probe import UnhealthyError
from auto_deployment.release.state import load, save
from auto_deployment.release.state_machine import BEFORE_PROMOTION, ReleaseStep
from auto_deployment.release.steps import Steps

if TYPE_CHECKING:
    from auto_deployment.common.signals import Stop
    from auto_deployment.release.context import ReleaseContext
    from auto_deployment.release.state import ReleaseEnd, ReleaseState
    from auto_deployment.release.state_machine import Rollout

log = logging.getLogger(__name__)

# A withdrawal is tried again: one failed call of the engine must not leave a release half done.
BACK_PAUSES = (2.0, 10.0, 30.0)


class Controller:
    """Runs what is under way in a release folder."""

    def __init__(self, context: ReleaseContext, stop: Stop) -> None:
        self._context = context
        self._stop = stop
        self._steps = Steps(context, self._note, self._apply_requests)

    @property
    def state(self) -> ReleaseState:
        """The state on the disk."""
        return load(self._context.folder)

    def run(self) -> ReleaseEnd:
        """Continue to the end, record it and notify people.

        Raises StoppedError between two steps or during a step that waits; RunError where the engine fails. A resume continues.
        """
        rollout = self._resumed()
        while rollout.step != ReleaseStep.END:
            rollout = self._apply_requests(rollout)
            if rollout.step != ReleaseStep.END:
                rollout = self._note(self._after_step(rollout))
        return finish(self._context, rollout)

    def _after_step(self, rollout: Rollout) -> Rollout:
        """The rollout after its step, whether that succeeded or failed."""
        self._context.record_event(rollout, f"{rollout.step} ...")
        if rollout.step in {ReleaseStep.WITHDRAW, ReleaseStep.UNDO}:
            return self._back(rollout)
        try:
            return self._steps.do(rollout)
        except RunError as error:
            log.warning("%s: %s", rollout.step, error)
            self._stop.check()  # a step that a stop broke proves nothing about the version
            return state_machine.step_failed(rollout, str(error), unhealthy=isinstance(error, UnhealthyError))

    def _back(self, rollout: Rollout) -> Rollout:
        """The rollout after a withdrawal, tried several times. Raises RunError after the last; a resume continues from here."""
        for pause in BACK_PAUSES:
            try:
                return self._steps.do(rollout)
            except RunError as error:
                log.warning("%s: %s; tried again in %g s", rollout.step, error, pause)
            self._context.sleep(pause)
            self._stop.check()
        return self._steps.do(rollout)

    def _resumed(self) -> Rollout:
        """The rollout under way. After a reboot its bake does not count the time that the machine was off."""
        rollout = self.state.under_way
        if rollout is None:
            raise RunError("nothing is under way")
        boot = self._context.boot
        if rollout.boot != boot and rollout.bake_began is not None and rollout.step in BEFORE_PROMOTION:
            folder = self._context.folder / rollout.folder
            return self._note(bake.after_reboot(folder, rollout, boot, self._context.now(), self._context.uptime()))
        return rollout

    def _note(self, rollout: Rollout) -> Rollout:
        """Save the rollout to the disk."""
        before = self.state
        save(self._context.folder, replace(before, under_way=rollout))
        if before.under_way is None or before.under_way.step != rollout.step:
            log.info("version %d: %s", rollout.version, rollout.step)
            metrics.write_metrics(self._context.settings.log_dir, self.state)
        return rollout

    def _apply_requests(self, rollout: Rollout) -> Rollout:
        """Apply the requests that have come. The request for a newer version stays where the rollout cannot be superseded.

        Raises StoppedError where somebody stops the run.
        """
        self._stop.check()
        for request in operator_requests.pending(self._context.folder):
            if request.action == "release" and (rollout.ending is not None or rollout.step not in BEFORE_PROMOTION):
                continue
            after = state_machine.apply_request(rollout, request)
            if after != rollout:
                self._context.record_event(after, f"{request.who} asks: {request.action}")
            rollout = self._note(after)
            operator_requests.acknowledge(self._context.folder, request)
        return rollout
