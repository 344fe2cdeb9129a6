"""The actions of the cases. An action releases a version on the stack, and waits for every command that it started."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.rehearse.cases import Case
    from scripts.rehearse.release_stack import ReleaseStack

STEP_SECONDS = 120.0
# A release has fewer steps than this. After more runs the release hangs.
MOST_RUNS = 40


def release(stack: ReleaseStack, case: Case, number: int) -> None:
    """Release the version."""
    stack.put_version(number, **case.faults)
    stack.deploy("release", *case.options, **case.settings)


def cut_model(stack: ReleaseStack, case: Case, number: int) -> None:
    """Release the version with a truncated file in its model."""
    stack.put_version(number)
    path = stack.folder / "data" / "model" / "serving" / "top.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        stack.deploy("release", *case.options)
    finally:
        path.write_bytes(whole)


def without_prometheus(stack: ReleaseStack, case: Case, number: int) -> None:
    """Release the version. Prometheus is stopped during the first half of the bake."""
    stack.put_version(number)
    running = stack.start("release", *case.options)
    wait_for_step(stack, "bake")
    stack.compose("stop", "prometheus")
    time.sleep(stack.bake_seconds / 2)
    stack.compose("start", "prometheus")
    stack.wait_for_end(running)


def killed_at_every_step(stack: ReleaseStack, case: Case, number: int) -> None:
    """Release the version. Kill the release once at every step, and resume it each time. Raises RunError if it does not end."""
    stack.put_version(number)
    killed = set[str]()
    running = stack.start("release", *case.options)
    for _ in range(MOST_RUNS):
        step = wait_for_step(stack, lambda step: step not in killed, running.poll)
        if step is None:
            stack.wait_for_end(running)
            return
        killed.add(step)
        stack.kill(running)
        running = stack.start("resume")
    raise RunError(f"the release was killed at {sorted(killed)} and has not ended after {MOST_RUNS} runs")


def superseded(stack: ReleaseStack, case: Case, number: int) -> None:
    """Release the version, and during its bake the next version. Raises RunError if the newer release fails."""
    stack.put_version(number)
    running = stack.start("release", *case.options)
    wait_for_step(stack, "bake")
    stack.put_version(number + 1)
    status, output = stack.deploy("release", *case.options)
    if status:
        raise RunError(f"the release of version {number + 1} ended with status {status}: {output}")
    stack.wait_for_end(running)


def rolled_back(stack: ReleaseStack, case: Case, number: int) -> None:  # noqa: ARG001 - every action has these arguments
    """Roll back to the version that was in service before."""
    stack.deploy("rollback")


ACTIONS: dict[str, Callable[[ReleaseStack, Case, int], None]] = {
    action.__name__: action
    for action in (release, cut_model, without_prometheus, killed_at_every_step, superseded, rolled_back)
}


def wait_for_step(
    stack: ReleaseStack, wanted: str | Callable[[str], bool], ended: Callable[[], object] = lambda: None
) -> str | None:
    """Wait until the release is at a wanted step, and return the step; None once `ended` returns a value. Raises RunError."""
    until = time.monotonic() + STEP_SECONDS
    while time.monotonic() < until:
        step = stack.step_under_way()
        if step is not None and (step == wanted if isinstance(wanted, str) else wanted(step)):
            return step
        if ended() is not None:
            return None
        time.sleep(0.05)
    raise RunError(f"the release did not reach the expected step in {STEP_SECONDS:g} s; its step: {stack.step_under_way()}")
