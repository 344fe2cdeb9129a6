"""What is done in a case: each act releases a version on the stack and returns when all that it began has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.rehearse.cases import Case
    from scripts.rehearse.place import ReleaseStack

STEP_SECONDS = 120.0
# A promotion takes a step a service; more runs than steps, and something hangs.
MOST_RUNS = 40


def release(stack: ReleaseStack, case: Case, number: int) -> None:
    """Release it."""
    stack.put_version(number, **case.faults)
    stack.deploy("release", *case.options, **case.settings)


def cut_model(stack: ReleaseStack, case: Case, number: int) -> None:
    """Release it after a file of its model has lost its end."""
    stack.put_version(number)
    path = stack.folder / "data" / "model" / "serving" / "top.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        stack.deploy("release", *case.options)
    finally:
        path.write_bytes(whole)


def without_prometheus(stack: ReleaseStack, case: Case, number: int) -> None:
    """Release it; Prometheus is stopped when the bake begins, and started at its half."""
    stack.put_version(number)
    running = stack.start("release", *case.options)
    wait_for_step(stack, "bake")
    stack.compose("stop", "prometheus")
    time.sleep(stack.bake_seconds / 2)
    stack.compose("start", "prometheus")
    stack.end(running)


def killed_at_every_step(stack: ReleaseStack, case: Case, number: int) -> None:
    """Release it; each time it comes to a step where it was not killed yet, it is, and somebody resumes it."""
    stack.put_version(number)
    killed = set[str]()
    running = stack.start("release", *case.options)
    for _ in range(MOST_RUNS):
        step = wait_for_step(stack, lambda step: step not in killed, running.poll)
        if step is None:
            stack.end(running)
            return
        killed.add(step)
        stack.kill(running)
        running = stack.start("resume")
    raise RunError(f"killed at {sorted(killed)}, and it does not end")


def superseded(stack: ReleaseStack, case: Case, number: int) -> None:
    """Release it; while it bakes, the next one is released."""
    stack.put_version(number)
    running = stack.start("release", *case.options)
    wait_for_step(stack, "bake")
    stack.put_version(number + 1)
    status, said = stack.deploy("release", *case.options)
    if status:
        raise RunError(f"the newer release ended with {status}: {said}")
    stack.end(running)


def rolled_back(stack: ReleaseStack, case: Case, number: int) -> None:  # noqa: ARG001 - an act's form
    """Go back to the version that was in service before."""
    stack.deploy("rollback")


ACTS: dict[str, Callable[[ReleaseStack, Case, int], None]] = {
    act.__name__: act for act in (release, cut_model, without_prometheus, killed_at_every_step, superseded, rolled_back)
}


def wait_for_step(
    stack: ReleaseStack, wanted: str | Callable[[str], bool], ended: Callable[[], object] = lambda: None
) -> str | None:
    """The step under way, as soon as it is a wanted one; None once `ended` says something. Raises RunError if neither comes."""
    until = time.monotonic() + STEP_SECONDS
    while time.monotonic() < until:
        step = stack.step_under_way()
        if step is not None and (step == wanted if isinstance(wanted, str) else wanted(step)):
            return step
        if ended() is not None:
            return None
        time.sleep(0.05)
    raise RunError(f"no step that was waited for within {STEP_SECONDS:g} s; now: {stack.step_under_way()}")
