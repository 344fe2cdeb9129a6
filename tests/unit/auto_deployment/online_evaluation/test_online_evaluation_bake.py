from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.settings import Settings, load_settings
from auto_deployment.online_evaluation.bake import watched_counts
from tests.unit.auto_deployment.online_evaluation.viewers import NOON, Scene

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from auto_deployment.online_evaluation.watched_counts import WatchedCounts

MINUTE = timedelta(minutes=1)
LIST = ("a+1999", "b+1999")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A bake of version 7 since noon, next to version 6, before the first event."""
    return Scene(tmp_path)


def seconds(time: datetime) -> float:
    """A time of the stream in seconds since 1970."""
    return time.replace(tzinfo=UTC).timestamp()


def settings_of(scene: Scene) -> Settings:
    """Those of a server that judges by what is watched."""
    return load_settings(provenance_url=scene.url, telemetry_dir=scene.folder / "telemetry", canary_watched="judge")


def known(scene: Scene, before: WatchedCounts | None = None) -> WatchedCounts:
    """The counts of the bake."""
    return watched_counts(settings_of(scene), 7, seconds(NOON), seconds(NOON + timedelta(hours=12)), before)


def test_users_count_once_in_the_track_of_their_first_answer(scene: Scene) -> None:
    """By bins of its time; what they got later, and from whom, is no matter."""
    scene.answer(1, NOON + MINUTE, LIST, 7, "canary")
    scene.answer(1, NOON + 2 * MINUTE, LIST, 6, "stable")
    scene.begin(1, "b+1999", NOON + 5 * MINUTE)
    for user in (2, 3, 4):
        scene.answer(user, NOON + 11 * MINUTE, LIST, 6, "stable")
    scene.begin(3, "a+1999", NOON + 70 * MINUTE)
    scene.answer(5, NOON + 12 * MINUTE, LIST, 7, "canary")
    scene.begin(9, "z+1999", NOON + 300 * MINUTE)
    scene.collect()
    found = known(scene)
    assert (found.users, found.hits) == ((1, 1), (1, 0))
    assert (found.base_users, found.base_hits) == ((0, 3), (0, 1))
    assert found.problem == ""


def test_only_answers_of_the_bake_that_are_old_enough_count(scene: Scene) -> None:
    """Neither those before it, nor those whose hour is not over, nor another version's canary."""
    scene.answer(1, NOON - MINUTE, LIST, 7, "canary")
    scene.answer(2, NOON + MINUTE, LIST, 7, "canary")
    scene.answer(3, NOON + 50 * MINUTE, LIST, 7, "canary")
    scene.answer(4, NOON + MINUTE, LIST, 5, "canary")
    scene.begin(9, "z+1999", NOON + 100 * MINUTE)
    scene.collect()
    found = known(scene)
    assert (found.users, found.base_users, found.until) == ((1,), (0,), "2026-01-05T12:40:00")


def test_what_has_been_counted_is_not_counted_again_until_there_is_more(scene: Scene) -> None:
    """A sample comes each minute, a collection every few hours."""
    scene.answer(1, NOON + MINUTE, LIST, 7, "canary")
    scene.begin(9, "z+1999", NOON + 300 * MINUTE)
    scene.collect()
    first = known(scene)
    assert known(scene, first) is first
    scene.answer(2, NOON + 2 * MINUTE, LIST, 7, "canary")
    scene.collect()
    assert sum(known(scene, first).users) == 2


def test_missing_telemetry_is_a_problem_and_no_error(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No telemetry, no database, a damaged file: each in words."""
    monkeypatch.chdir(tmp_path)  # a checkout whose stack was started has a database
    assert known(scene).problem == "there is no telemetry"
    scene.answer(1, NOON + MINUTE, LIST, 7, "canary")
    scene.begin(9, "z+1999", NOON + 300 * MINUTE)
    scene.collect()
    bare = load_settings(telemetry_dir=tmp_path / "telemetry", canary_watched="judge")
    assert "no database" in watched_counts(bare, 7, seconds(NOON), seconds(NOON + timedelta(hours=12)), None).problem
    next((tmp_path / "telemetry").rglob("*.parquet")).write_bytes(b"not a file of that kind")
    assert known(scene).problem.startswith("telemetry gives nothing new (")


def test_a_short_failure_keeps_the_counts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is away, or a day is being compacted, at the last sample: the counts stay, with the reason."""
    scene.answer(1, NOON + MINUTE, LIST, 7, "canary")
    scene.answer(2, NOON + MINUTE, LIST, 6, "stable")
    scene.begin(2, "a+1999", NOON + 5 * MINUTE)
    scene.begin(9, "z+1999", NOON + 300 * MINUTE)
    scene.collect()
    first = known(scene)
    scene.answer(3, NOON + 2 * MINUTE, LIST, 7, "canary")
    scene.collect()
    with monkeypatch.context() as patch:
        patch.setattr("auto_deployment.online_evaluation.bake.prepare", away)
        second = known(scene, first)
    assert (second.users, second.hits, second.base_users, second.base_hits) == ((1,), (0,), (1,), (1,))
    assert "away" in second.problem
    third = known(scene, second)
    assert (sum(third.users), third.problem) == (2, "")


def away(*_: object) -> None:
    """No database."""
    raise OSError("away")
