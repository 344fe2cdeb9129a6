"""Every transition of a release."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auto_deployment.release import state_machine
from auto_deployment.release.analysis.verdict import Decision
from auto_deployment.release.services import FIRST, SERVICES, Slot
from auto_deployment.release.state_machine import (
    BEFORE_PROMOTION,
    EXIT_STATUS,
    ORDER,
    PROMOTES,
    Ending,
    OperatorRequest,
    ReleaseStep,
    Rollout,
)

RELEASE = Rollout("release", 7, 6, "ann", 0.0, "7-x", ReleaseStep.BUILD, before=FIRST)
ROLLBACK = replace(RELEASE, kind="rollback", step=ReleaseStep.STABLE_1)
ABORT, PROMOTE, NEWER = OperatorRequest("abort", "bob"), OperatorRequest("promote", "bob"), OperatorRequest("release", "bob", 8)


def path(rollout: Rollout) -> list[ReleaseStep]:
    """The steps from here on, if each succeeds."""
    found = [rollout.step]
    while rollout.step != ReleaseStep.END:
        rollout = state_machine.step_done(rollout)
        found.append(rollout.step)
    return found


def at(step: ReleaseStep, rollout: Rollout = RELEASE) -> Rollout:
    """The same at another step."""
    return replace(rollout, step=step)


def test_a_release_goes_through_all_steps_to_its_promotion() -> None:
    """Nothing that takes back is on the way; at the end it is promoted."""
    assert path(RELEASE) == [*ORDER, ReleaseStep.END]
    end = state_machine.step_done(at(ReleaseStep.KEEP))
    assert end.ending == Ending.PROMOTED


def test_a_release_without_a_shadow_goes_on_to_the_canary() -> None:
    """Only the shadow is left out."""
    assert path(replace(RELEASE, shadowed=False)) == [step for step in path(RELEASE) if step != ReleaseStep.SHADOW]


def test_a_rollback_replaces_service_after_service() -> None:
    """Without a build or a bake."""
    assert state_machine.first_step("rollback") == ReleaseStep.STABLE_1
    assert path(ROLLBACK) == [ReleaseStep.STABLE_1, ReleaseStep.STABLE_2, ReleaseStep.THIRD, ReleaseStep.KEEP, ReleaseStep.END]
    assert state_machine.step_done(at(ReleaseStep.KEEP, ROLLBACK)).ending == Ending.ROLLED_BACK
    assert [PROMOTES[step] for step in path(ROLLBACK)[:3]] == list(SERVICES)


@pytest.mark.parametrize("step", ORDER)
def test_what_breaks_is_taken_back_as_far_as_it_came(step: ReleaseStep) -> None:
    """Nothing where nobody has seen it, the canary before the promotion, all services from then on; the reason has the step."""
    found = state_machine.step_failed(at(step), "no room")
    back = {ReleaseStep.BUILD: ReleaseStep.END, ReleaseStep.SHADOW: ReleaseStep.END}
    assert found.step == back.get(step, ReleaseStep.WITHDRAW if step in BEFORE_PROMOTION else ReleaseStep.UNDO)
    assert found.reasons == (f"{step}: no room",)
    assert found.ending == Ending.FAILED
    assert path(found)[-1] == ReleaseStep.END
    assert len(path(found)) <= 2


@pytest.mark.parametrize("step", ORDER)
def test_only_a_canary_that_is_sick_is_a_bad_version(step: ReleaseStep) -> None:
    """From its start to its warm-up; later the bake judges, and a promotion that breaks is a failure."""
    found = state_machine.step_failed(at(step), "exited", unhealthy=True)
    assert found.ending == (Ending.ABORTED if step in {ReleaseStep.REPLACE, ReleaseStep.WARM} else Ending.FAILED)


@pytest.mark.parametrize(
    ("judged", "step", "ending"),
    [
        (Decision.BAKING, ReleaseStep.BAKE, None),
        (Decision.PASS, ReleaseStep.STABLE_1, None),
        (Decision.FAIL, ReleaseStep.WITHDRAW, Ending.ABORTED),
        (Decision.INCONCLUSIVE, ReleaseStep.WITHDRAW, Ending.INCONCLUSIVE),
    ],
)
def test_the_verdict_decides(judged: Decision, step: ReleaseStep, ending: Ending | None) -> None:
    """Only a pass promotes; a canary that is taken back says why."""
    found = state_machine.apply_verdict(at(ReleaseStep.BAKE), judged, ["mean 700 ms, limit 500 ms"])
    assert (found.step, found.ending) == (step, ending)
    assert found.reasons == (("mean 700 ms, limit 500 ms",) if ending else ())


@pytest.mark.parametrize("step", [step for step in ORDER if step != ReleaseStep.KEEP])
def test_an_abort_is_obeyed_at_every_step(step: ReleaseStep) -> None:
    """And says who asked."""
    found = state_machine.apply_request(at(step), ABORT)
    assert found.ending == Ending.ABORTED
    assert found.reasons == ("bob asked for it",)
    assert found.step in {ReleaseStep.END, ReleaseStep.WITHDRAW, ReleaseStep.UNDO}


def test_a_newer_version_stops_a_bake_and_not_a_promotion() -> None:
    """A half-done promotion is completed first."""
    for step in ORDER:
        found = state_machine.apply_request(at(step), NEWER)
        assert (found.ending == Ending.SUPERSEDED) == (step in BEFORE_PROMOTION)
    assert state_machine.apply_request(at(ReleaseStep.BAKE), NEWER).reasons == ("version 8 came, by bob",)


def test_who_wants_a_promotion_is_noted() -> None:
    """The bake sees to it."""
    assert state_machine.apply_request(at(ReleaseStep.BUILD), PROMOTE) == replace(RELEASE, promoted_by="bob")


@pytest.mark.parametrize("request_", [ABORT, PROMOTE, NEWER])
@pytest.mark.parametrize("step", [ReleaseStep.WITHDRAW, ReleaseStep.UNDO, ReleaseStep.END])
def test_what_is_decided_stays_decided(step: ReleaseStep, request_: OperatorRequest) -> None:
    """Whatever is asked then."""
    decided = replace(at(step), ending=Ending.ABORTED, reasons=("slow",))
    assert state_machine.apply_request(decided, request_) == decided


def test_every_ending_has_a_status() -> None:
    """By contract: 0 done, 1 failed, 3 refused, 4 inconclusive."""
    assert set(EXIT_STATUS) == set(Ending)
    assert {EXIT_STATUS[each] for each in (Ending.ABORTED, Ending.REFUSED)} == {3}
    assert EXIT_STATUS[Ending.INCONCLUSIVE] == 4
    assert EXIT_STATUS[Ending.FAILED] == 1


def test_minutes_count_from_the_bakes_begin() -> None:
    """Before, there are none."""
    assert RELEASE.minutes(600.0) == 0
    assert replace(RELEASE, bake_began=300.0).minutes(600.0) == 5


def test_an_undoing_brings_back_what_services_ran() -> None:
    """A release's canary is withdrawn; a rollback's runs again what it ran; what was not there stays away."""
    assert state_machine.to_bring_back(RELEASE) == {name: FIRST[name] for name in ("stable-1", "stable-2")}
    assert state_machine.to_bring_back(ROLLBACK) == FIRST
    assert "canary" not in state_machine.to_bring_back(replace(ROLLBACK, before={**FIRST, "canary": None}))


def test_slots_carry_the_versions_tag() -> None:
    """On the canary's track while it bakes, then on the stable one."""
    assert state_machine.canary_slot(RELEASE) == Slot("model-7", "canary")
    assert state_machine.promoted_slot(RELEASE) == Slot("model-7", "stable")
