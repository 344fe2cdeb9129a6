"""What is remembered of releases, and what it is used for."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import StateError
from auto_deployment.evaluation.champion import Recipe, recipe_in_service
from auto_deployment.release import completion, metrics, preflight
from auto_deployment.release.operator_requests import acknowledge, drop, next_release, pending, submit, wait_acknowledged
from auto_deployment.release.services import FIRST, Slot
from auto_deployment.release.state import FOLDER, INITIAL, ReleaseState, in_service, load, needed_versions, save
from auto_deployment.release.state_machine import Ending, OperatorRequest, ReleaseStep, Rollout

if TYPE_CHECKING:
    from pathlib import Path

ROLLOUT = Rollout("release", 7, 6, "ann", 100.0, "7-x", ReleaseStep.BAKE, before=FIRST, bake_began=120.0)
SERVING = replace(INITIAL, in_service=6, since=50.0, served=(4, 5), under_way=ROLLOUT)


def after(ending: Ending, state: ReleaseState = SERVING, rollout: Rollout = ROLLOUT) -> ReleaseState:
    """The state once the rollout has ended so."""
    return state.ended(replace(rollout, ending=ending, reasons=("why",)), 200.0, false_alarm=False)


def test_a_state_comes_back_from_the_disk_as_it_was(tmp_path: Path) -> None:
    """With whatever is under way, and every end."""
    state = replace(after(Ending.ABORTED), under_way=replace(ROLLOUT, ending=Ending.FAILED, reasons=("a", "b")))
    state = state.with_slot("canary", None).with_slot("stable-1", Slot("model-6", "stable"))
    save(tmp_path, state)
    assert load(tmp_path) == state
    assert load(tmp_path / "elsewhere") == INITIAL


def test_another_user_can_read_what_is_in_service(tmp_path: Path) -> None:
    """The retraining's, whatever the umask of whoever released."""
    before = os.umask(0o077)
    try:
        save(tmp_path / FOLDER, SERVING)
    finally:
        os.umask(before)
    modes = [(tmp_path / FOLDER / name).stat().st_mode & 0o777 for name in (".", "state.json")]
    assert modes == [0o755, 0o644]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"in_service": 1}'])
def test_a_damaged_state_is_no_fresh_start(tmp_path: Path, text: str) -> None:
    """The error names the file."""
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(StateError, match=r"state\.json"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("urgd", "eve", "under_way.urgd"),
        ("before", {"stable-1": None}, r"under_way\.before.*no entry for canary, stable-2"),
        ("step", "bakes", "under_way.step"),
    ],
)
def test_a_damaged_rollout_is_refused_before_any_step(tmp_path: Path, key: str, value: object, message: str) -> None:
    """The error names the key. Otherwise the fault would show in the middle of a withdrawal."""
    save(tmp_path, replace(SERVING, under_way=replace(ROLLOUT, before=FIRST)))
    path = tmp_path / "state.json"
    damaged = json.loads(path.read_text())
    damaged["under_way"][key] = value
    path.write_text(json.dumps(damaged))
    with pytest.raises(StateError, match=message):
        load(tmp_path)


def test_a_promotion_puts_a_version_in_service() -> None:
    """And the one before among those that a rollback may go to."""
    state = after(Ending.PROMOTED)
    assert (state.in_service, state.since, state.served, state.under_way) == (7, 200.0, (4, 5, 6), None)
    assert state.ends[-1].ending == Ending.PROMOTED
    assert not state.ends[-1].notified
    assert preflight.previous(state) == 6


@pytest.mark.parametrize("ending", [Ending.ABORTED, Ending.REFUSED, Ending.INCONCLUSIVE, Ending.FAILED])
def test_what_was_taken_back_is_not_released_again_by_itself(ending: Ending) -> None:
    """But it is when somebody asks for it by a word of its own."""
    state = after(ending)
    assert state.in_service == 6
    assert f"was {ending} before" in preflight.refusal(state, 7, again=False)
    assert preflight.refusal(state, 7, again=True) == ""


def test_a_failure_before_the_bake_and_a_newer_version_are_no_verdict() -> None:
    """Such a version may be released again."""
    assert after(Ending.FAILED, rollout=replace(ROLLOUT, bake_began=None)).taken_back == {}
    assert after(Ending.SUPERSEDED).taken_back == {}


def test_a_rollback_takes_the_newer_version_back() -> None:
    """The older one serves, is not in its own history, and the newer one is refused."""
    back = replace(ROLLOUT, kind="rollback", version=5, replaces=6)
    state = after(Ending.ROLLED_BACK, rollout=back)
    assert (state.in_service, state.served, dict(state.taken_back)) == (5, (4,), {"6": "rolled back"})
    assert "rolled back before" in preflight.refusal(state, 6, again=False)


def test_a_version_that_is_promoted_after_all_is_forgiven() -> None:
    """It was released again on purpose, and passed."""
    assert after(Ending.PROMOTED, replace(SERVING, taken_back={"7": "aborted"})).taken_back == {}


@pytest.mark.parametrize(("version", "word"), [(5, "older than the one in service"), (7, ""), (8, "")])
def test_versions_that_are_not_released(version: int, word: str) -> None:
    """None yet, or one from before; each with its reason."""
    why = preflight.refusal(SERVING, version, again=False)
    assert (word in why) if word else why == ""


def test_there_is_nothing_to_roll_back_to_before_the_second_version() -> None:
    """And a newer one that was in service once is not taken for an older one."""
    assert preflight.previous(replace(INITIAL, in_service=1)) is None
    assert preflight.previous(INITIAL) is None
    assert preflight.previous(replace(INITIAL, in_service=3, served=(1, 5))) == 1


def test_images_beyond_those_that_are_kept_go() -> None:
    """Of versions that the release knows: what serves and the last few that did stay."""
    state = after(Ending.ABORTED, replace(SERVING, served=(3, 4, 5)))
    ends = tuple(replace(state.ends[0], version=version, replaces=version - 1) for version in range(2, 8))
    assert completion.to_remove(replace(state, ends=ends), 2) == {1, 2, 3, 7}
    assert completion.to_remove(replace(state, ends=ends), 0) == {1, 2, 3, 4, 5, 7}


def test_the_image_of_version_0_stays() -> None:
    """No commit names it, so that nothing can build it again, and its answers could not be replayed."""
    state = after(Ending.PROMOTED, replace(SERVING, in_service=0, served=()), replace(ROLLOUT, version=1, replaces=0))
    ends = tuple(replace(state.ends[0], version=version, replaces=version - 1) for version in range(1, 8))
    assert completion.to_remove(replace(state, in_service=7, ends=ends), 0) == {1, 2, 3, 4, 5, 6}


def test_the_images_of_what_runs_and_of_what_is_under_way_stay() -> None:
    """A release that is resumed finds its image, and its way back; so does a service that an undoing has left behind."""
    ended = replace(after(Ending.ABORTED), served=())
    ends = tuple(replace(ended.ends[0], version=version, replaces=version - 1) for version in range(2, 8))
    known = replace(ended, ends=ends)
    assert completion.to_remove(known, 0) == {1, 2, 3, 4, 5, 7}
    back = replace(ROLLOUT, version=7, replaces=5, before={**FIRST, "canary": Slot("model-3", "stable")})
    assert completion.to_remove(replace(known, under_way=back), 0) == {1, 2, 4}
    assert completion.to_remove(known.with_slot("stable-2", Slot("model-4", "stable")), 0) == {1, 2, 3, 5, 7}


def test_a_release_needs_what_runs_what_may_come_back_and_what_ended_lately(tmp_path: Path) -> None:
    """Answers of an aborted canary may wait in a journal while the database is away."""
    aborted = after(Ending.ABORTED, replace(SERVING, served=(2, 3, 4, 5)))
    save(tmp_path / FOLDER, aborted)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "version.txt").write_text("9\n")
    end = aborted.ends[0].ended
    assert needed_versions(tmp_path, 2, end) == {4, 5, 6, 7, 9}
    assert needed_versions(tmp_path, 0, end + 31 * 86_400) == {6, 9}


def test_a_checkout_without_a_release_needs_no_version_and_one_that_is_missing_is_named(tmp_path: Path) -> None:
    """A folder that is not mounted must not look like one without a release."""
    assert needed_versions(tmp_path, 3, 0.0) == set()
    with pytest.raises(RunError, match="SERVER_DIR"):
        needed_versions(tmp_path / "away", 3, 0.0)


def test_the_version_in_service_is_the_next_gates_champion(tmp_path: Path) -> None:
    """Not the last tag: that one may have been taken back."""
    save(tmp_path / FOLDER, after(Ending.ABORTED))
    recipes = {6: Recipe("surprise", 0, "ease"), 7: Recipe("sgd", 0, "ease")}
    assert in_service(tmp_path) == 6
    assert recipe_in_service(partial(in_service, tmp_path), 7, recipes.get) == recipes[6]


def test_before_any_release_the_last_tag_is_the_champion(tmp_path: Path) -> None:
    """Also where the version in service has no report, or its state cannot be read."""
    recipes = {7: Recipe("sgd", 0, "ease")}
    assert recipe_in_service(partial(in_service, tmp_path), 7, recipes.get) == recipes[7]
    save(tmp_path / FOLDER, after(Ending.ABORTED))
    assert recipe_in_service(partial(in_service, tmp_path), 7, recipes.get) == recipes[7]
    (tmp_path / FOLDER / "state.json").write_text("{")
    assert recipe_in_service(partial(in_service, tmp_path), 7, recipes.get) == recipes[7]
    assert recipe_in_service(partial(in_service, tmp_path), 0, recipes.get) is None


def test_a_request_waits_until_it_is_taken(tmp_path: Path) -> None:
    """An abort comes first; who asks learns that nobody is there any more."""
    request = OperatorRequest("promote", "bob")
    path = submit(tmp_path, request)
    submit(tmp_path, OperatorRequest("abort", "eve"))
    assert [each.action for each in pending(tmp_path)] == ["abort", "promote"]
    assert not wait_acknowledged(path, lambda: False)
    acknowledge(tmp_path, request)
    assert wait_acknowledged(path, lambda: True)
    assert pending(tmp_path) == [OperatorRequest("abort", "eve")]


def test_a_newer_version_comes_next_when_its_request_is_taken(tmp_path: Path) -> None:
    """With the options of its command, whoever begins it; until somebody has."""
    request = OperatorRequest("release", "bob", 8, ("--again",))
    submit(tmp_path, request)
    assert next_release(tmp_path) is None
    acknowledge(tmp_path, request)
    assert pending(tmp_path) == []
    assert next_release(tmp_path) == request
    drop(tmp_path)
    assert next_release(tmp_path) is None


def test_prometheus_gets_what_serves_and_how_the_last_one_ended(tmp_path: Path) -> None:
    """In its text format; nothing is told that is not known."""
    text = metrics.to_text(replace(after(Ending.ABORTED), under_way=ROLLOUT))
    values = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
    assert values == {
        "release_version_in_service": "6",
        "release_in_service_since_time_seconds": "50.0",
        "release_under_way_version": "7",
        "release_last_end_time_seconds": "200.0",
        "release_last_end_status": "3",
        "release_last_end_version": "7",
    }
    assert metrics.to_text(INITIAL) == ""
    metrics.write_metrics(tmp_path, SERVING)
    assert (tmp_path / "metrics" / "release.prom").stat().st_mode & 0o777 == 0o644


def test_the_tree_names_its_version(tmp_path: Path) -> None:
    """A file that does not is an error with what it should hold."""
    (tmp_path / "version.txt").write_text("7\n")
    assert preflight.version_in_tree(tmp_path) == 7
    (tmp_path / "version.txt").write_text("seven\n")
    with pytest.raises(Exception, match="it should hold the version's number"):
        preflight.version_in_tree(tmp_path)


def test_the_state_is_readable_json(tmp_path: Path) -> None:
    """For whoever looks at it with other tools."""
    save(tmp_path, SERVING)
    assert json.loads((tmp_path / "state.json").read_text())["under_way"]["step"] == "bake"
