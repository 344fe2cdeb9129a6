"""A release run to its end: does what the state says comes next, and notes what came of it before anything else."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.release import bake, metrics, requests, state_machine
from auto_deployment.release.completion import finish
from auto_deployment.release.probe import SickError
from auto_deployment.release.state import load, save
from auto_deployment.release.state_machine import BEFORE_PROMOTION, Step
from auto_deployment.release.steps import Steps

if TYPE_CHECKING:
    from auto_deployment.common.signals import Stop
    from auto_deployment.release.context import Tools
    from auto_deployment.release.state import End, State
    from auto_deployment.release.state_machine import Rollout

log = logging.getLogger(__name__)

# What takes a version back is tried again: a release must not be left half done for a hiccup of the engine.
BACK_PAUSES = (2.0, 10.0, 30.0)


class Controller:
    """Runs what is under way in a release folder."""

    def __init__(self, tools: Tools, stop: Stop) -> None:
        self._tools = tools
        self._stop = stop
        self._steps = Steps(tools, self._note, self._see_to_wishes)

    @property
    def state(self) -> State:
        """As it is on the disk."""
        return load(self._tools.folder)

    def run(self) -> End:
        """Continue to the end, record it and notify people.

        Raises StoppedError between two steps and amid one that waits, RunError where it must wait; a resumption goes on.
        """
        rollout = self._awakened()
        while rollout.step != Step.END:
            rollout = self._see_to_wishes(rollout)
            if rollout.step != Step.END:
                rollout = self._note(self._stepped(rollout))
        return finish(self._tools, rollout)

    def _stepped(self, rollout: Rollout) -> Rollout:
        """After its step, however that went."""
        self._tools.say(rollout, f"{rollout.step} ...")
        if rollout.step in {Step.WITHDRAW, Step.UNDO}:
            return self._back(rollout)
        try:
            return self._steps.do(rollout)
        except RunError as error:
            log.warning("%s: %s", rollout.step, error)
            self._stop.check()  # what a stop broke says nothing about the version
            return state_machine.broken(rollout, str(error), sick=isinstance(error, SickError))

    def _back(self, rollout: Rollout) -> Rollout:
        """Taken back, tried several times. Raises RunError after the last; a resume continues from here."""
        for pause in BACK_PAUSES:
            try:
                return self._steps.do(rollout)
            except RunError as error:
                log.warning("%s: %s; tried again in %g s", rollout.step, error, pause)
            self._tools.sleep(pause)
            self._stop.check()
        return self._steps.do(rollout)

    def _awakened(self) -> Rollout:
        """What is under way; after a reboot a bake does not count the time that the machine was away."""
        rollout = self.state.under_way
        if rollout is None:
            raise RunError("nothing is under way")
        boot = self._tools.boot
        if rollout.boot != boot and rollout.bake_began is not None and rollout.step in BEFORE_PROMOTION:
            folder = self._tools.folder / rollout.folder
            return self._note(bake.after_reboot(folder, rollout, boot, self._tools.now(), self._tools.uptime()))
        return rollout

    def _note(self, rollout: Rollout) -> Rollout:
        """Have the disk know where it stands."""
        before = self.state
        save(self._tools.folder, replace(before, under_way=rollout))
        if before.under_way is None or before.under_way.step != rollout.step:
            log.info("version %d: %s", rollout.version, rollout.step)
            metrics.tell(self._tools.settings.log_dir, self.state)
        return rollout

    def _see_to_wishes(self, rollout: Rollout) -> Rollout:
        """Handle requests that came meanwhile. A newer version's request stays if nothing is given up for it.

        Raises StoppedError where somebody stops the run.
        """
        self._stop.check()
        for wish in requests.pending(self._tools.folder):
            if wish.wish == "release" and (rollout.ending is not None or rollout.step not in BEFORE_PROMOTION):
                continue
            after = state_machine.asked(rollout, wish)
            if after != rollout:
                self._tools.say(after, f"{wish.who} asks: {wish.wish}")
            rollout = self._note(after)
            requests.take(self._tools.folder, wish)
        return rollout
