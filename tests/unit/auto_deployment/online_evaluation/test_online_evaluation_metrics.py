from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from auto_deployment.online_evaluation import metrics_text
from auto_deployment.online_evaluation.metrics import compute_metrics
from tests.unit.auto_deployment.online_evaluation.viewers import NOON, Scene

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.online_evaluation.metrics import OnlineMetrics

HOUR = timedelta(hours=1)
LIST = ("a+1999", "b+1999", "c+1999")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Nothing has happened but that the stream went on for long."""
    scene = Scene(tmp_path)
    scene.begin(999, "z+1999", NOON + 100 * HOUR)
    return scene


def hits(found: OnlineMetrics) -> dict[tuple[int | None, str | None], tuple[int, int]]:
    """The judged answers of each version and track, and how many of them were watched."""
    return {
        (each.version, each.track): (each.answers, round(each.watched.value * each.answers))
        for each in found.groups
        if each.watched is not None
    }


@pytest.mark.parametrize(
    ("film", "after", "is_hit"),
    [
        ("b+1999", timedelta(seconds=1), True),
        ("b+1999", 24 * HOUR, True),
        ("b+1999", 24 * HOUR + timedelta(seconds=1), False),
        ("b+1999", -timedelta(seconds=1), False),
        ("other+1999", HOUR, False),
    ],
)
def test_an_answer_is_watched_when_a_film_of_it_is_begun_within_a_day(
    scene: Scene, film: str, after: timedelta, *, is_hit: bool
) -> None:
    """Of the list, after the answer, and not later than 24 hours; across midnight too."""
    scene.answer(7, NOON + 11 * HOUR, LIST)
    scene.begin(7, film, NOON + 11 * HOUR + after)
    scene.collect()
    assert hits(scene.metrics()) == {(6, "stable"): (1, int(is_hit))}


def test_a_film_that_was_begun_before_the_answer_is_no_success_of_it(scene: Scene) -> None:
    """Going on with it, also in a later block, is not what the answer brought."""
    scene.begin(7, "a+1999", NOON - HOUR)
    scene.answer(7, NOON, LIST)
    scene.collect()
    scene.begin(7, "a+1999", NOON + HOUR)
    scene.collect()
    assert hits(scene.metrics()) == {(6, "stable"): (1, 0)}


def test_another_user_s_film_is_no_success(scene: Scene) -> None:
    """Users are not mixed up."""
    scene.answer(7, NOON, LIST)
    scene.begin(8, "a+1999", NOON + HOUR)
    scene.collect()
    assert hits(scene.metrics()) == {(6, "stable"): (1, 0)}


def test_every_request_has_its_place(scene: Scene) -> None:
    """Failed, too young, judged with a version, judged without one: they add up."""
    scene.fail(1, NOON)
    scene.answer(2, NOON + 77 * HOUR, LIST)
    scene.answer(3, NOON, LIST)
    scene.answer(4, NOON, LIST, served=False)
    scene.collect()
    found = scene.metrics()
    assert (found.requests, found.failed, found.young, found.judged, found.matched) == (4, 1, 1, 2, 1)
    assert hits(found) == {(6, "stable"): (1, 0), (None, None): (1, 0)}


def test_an_answer_is_old_enough_by_the_stream_not_by_our_clock(tmp_path: Path) -> None:
    """What was collected ends an hour after it: nobody can know what was begun since."""
    scene = Scene(tmp_path)
    scene.answer(7, NOON, LIST)
    scene.begin(7, "a+1999", NOON + HOUR)
    scene.collect()
    assert scene.metrics(now=NOON + timedelta(days=9)).young == 1


def test_versions_and_tracks_come_from_provenance(scene: Scene) -> None:
    """The nearest answer to the same user with the very same list."""
    scene.answer(7, NOON, LIST, 6, "stable")
    scene.answer(7, NOON + timedelta(seconds=3), LIST[::-1], 7, "canary")
    scene.answer(7, NOON + timedelta(seconds=6), LIST, 7, "canary")
    scene.begin(7, "a+1999", NOON + HOUR)
    scene.collect()
    assert hits(scene.metrics()) == {(6, "stable"): (1, 1), (7, "canary"): (2, 2)}


@pytest.mark.parametrize("shift", [timedelta(seconds=-11), timedelta(seconds=11), HOUR])
def test_an_answer_of_another_time_is_not_taken_for_it(scene: Scene, shift: timedelta) -> None:
    """Further from the stream's time than the clocks may differ: it is counted as not found."""
    scene.answer(7, NOON, LIST)
    scene.served[0] = scene.served[0]._replace(served_at=scene.served[0].served_at + int(shift.total_seconds() * 1e6))
    scene.collect()
    assert scene.metrics().matched == 0


def test_another_list_or_user_is_not_taken_for_it(scene: Scene) -> None:
    """At the very same time."""
    scene.answer(7, NOON, LIST)
    scene.answer(8, NOON, LIST[:2])
    scene.served = [scene.served[0]._replace(user_id=8), scene.served[1]._replace(user_id=7)]
    scene.collect()
    assert scene.metrics().matched == 0


def test_the_popular_list_is_compared_on_the_same_answers_without_seen_films(scene: Scene) -> None:
    """As many films as the answer had, the next ones in the places of those that the user had seen."""
    scene.list_popular(6, ["p+1", "q+1", "r+1", "s+1", "t+1", "u+1"], seen={2: 0b011, 3: 0b100})
    for user in (1, 2, 3):
        scene.answer(user, NOON, LIST)
        scene.begin(user, "t+1", NOON + HOUR)
        scene.begin(user, "r+1", NOON + HOUR)
    scene.answer(4, NOON, LIST)
    scene.begin(4, "s+1", NOON + HOUR)
    scene.collect()
    (group,) = scene.metrics().groups
    assert group.popular is not None
    assert group.above is not None
    assert (group.answers, round(group.popular.value * 4)) == (
        4,
        2,
    )  # users 1 and 2; to 3 `r` was known, to 4 `s` is the fourth
    assert group.above.value == pytest.approx(-0.5)


def test_a_version_without_a_popular_list_is_not_held_against_one(scene: Scene) -> None:
    """Its own share is known, the share of the popular list is not."""
    scene.answer(1, NOON, LIST)
    scene.collect()
    (group,) = scene.metrics().groups
    assert (group.answers, group.popular, group.above) == (1, None, None)


def test_without_a_database_answers_are_judged_without_versions(scene: Scene) -> None:
    """They count as not found."""
    scene.answer(1, NOON, LIST)
    scene.begin(1, "a+1999", NOON + HOUR)
    scene.collect()
    found = compute_metrics(scene.store, scene.popular, None, 30, NOON + 200 * HOUR)
    assert hits(found) == {(None, None): (1, 1)}


def test_a_time_that_is_yet_to_come_is_damage(scene: Scene) -> None:
    """It neither makes answers old nor is a day of its own."""
    scene.answer(1, NOON + 99 * HOUR, LIST)
    scene.answer(1, NOON + timedelta(days=9000), LIST)
    scene.begin(1, "a+1999", NOON + timedelta(days=9001))
    scene.collect()
    found = scene.metrics()
    assert (found.requests, found.young, found.days) == (1, 1, ("2026-01-09",))


def test_the_table_counts_what_is_left_out(scene: Scene) -> None:
    """Failed ones, young ones, those not found; shares with their intervals; and in a mail a line for each version."""
    scene.fail(1, NOON)
    scene.answer(3, NOON, LIST)
    scene.answer(5, NOON, LIST)
    scene.begin(5, "a+1999", NOON + HOUR)
    scene.answer(4, NOON, LIST, served=False)
    scene.collect()
    metrics = scene.metrics()
    lines = metrics_text.table(metrics)
    assert lines[1].startswith(
        "4 requests: 1 failed, 0 too young to be judged, 3 judged by what was begun within 24 h, 1 of these"
    )
    assert [line.split()[:5] for line in lines[3:5]] == [
        ["6", "stable", "2", "2", "50.00%"],
        ["not", "found", "-", "1", "1"],
    ]
    mail = metrics_text.summary(metrics)
    assert mail[0].startswith("watched within 24 h, version 6 stable: 50.00% (")
    assert mail[-1] == "4 requests in the telemetry, of these 1 failed, 1 not in provenance"
    assert metrics_text.summary(None) == []


def test_nothing_collected_gives_one_line(tmp_path: Path) -> None:
    """Not a table of nothing."""
    assert metrics_text.table(Scene(tmp_path).metrics()) == ["no recommendation of ours is kept: nothing was collected yet"]


def test_a_partition_that_is_behind_sets_the_known_end(scene: Scene) -> None:
    """What of it was left unread is not unwatched: answers after its last time are too young."""
    scene.answer(1, NOON, ["a+1999"])
    scene.begin(5, "z+1999", NOON + 26 * HOUR)
    scene.collect()
    late = scene.rows
    scene.store.keep("movielog4/1", {"offset": 10}, late)
    scene.begin(6, "z+1999", NOON + 3 * HOUR)
    scene.store.keep("movielog4/1", {"offset": 20}, scene.rows)
    assert scene.metrics().judged == 1
    scene.store.note_unread(["movielog4/1"])
    assert (scene.metrics().judged, scene.metrics().young) == (0, 1)
    scene.store.note_unread([])
    assert scene.metrics().judged == 1


@pytest.mark.parametrize(("ahead", "young"), [(0, 1), (4, 1), (5, 0)])
def test_a_few_lines_ahead_of_the_stream_do_not_make_it_known(tmp_path: Path, ahead: int, young: int) -> None:
    """One in a thousand of a source may be hours ahead, a day later or in another block; more of them are the stream itself."""
    scene = Scene(tmp_path)
    scene.answer(1, NOON, ["a+1999"])
    for user in range(4500):
        scene.begin(user, "z+1999", NOON + user * timedelta(seconds=1))
    scene.collect()
    for user in range(ahead):
        scene.begin(user, "y+1999", NOON + 30 * HOUR)
    scene.collect()
    assert scene.metrics(now=NOON + 20 * HOUR).young == young


def test_no_more_than_a_handful_of_lines_is_taken_for_ahead(tmp_path: Path) -> None:
    """However many lines the source has, at most ten are left out."""
    scene = Scene(tmp_path)
    scene.answer(1, NOON, ["a+1999"])
    for user in range(20_000):
        scene.begin(user, "z+1999", NOON + HOUR)
    for user in range(11):
        scene.begin(user, "y+1999", NOON + 26 * HOUR)
    scene.collect()
    assert scene.metrics(now=NOON + 26 * HOUR).until == NOON + 26 * HOUR


def test_two_answers_at_one_time_are_not_taken_for_each_other(scene: Scene) -> None:
    """The same user, two lists: the film was in one of them. A line that comes twice in the stream is one answer."""
    scene.answer(1, NOON, ["a+1999"], 6, "stable")
    scene.answer(1, NOON, ["b+1999"], 7, "canary")
    scene.answer(1, NOON, ["b+1999"], 7, "canary")
    scene.begin(1, "a+1999", NOON + HOUR)
    scene.begin(5, "z+1999", NOON + 30 * HOUR)
    scene.collect()
    groups = {group.version: group for group in scene.metrics().groups}
    assert {version: (group.answers, group.watched and group.watched.value) for version, group in groups.items()} == {
        6: (1, 1.0),
        7: (1, 0.0),
    }


def test_who_has_seen_most_of_the_popular_list_is_not_compared(scene: Scene) -> None:
    """Less is left of it than the answer held: it would have got less for being shorter."""
    films = [f"f{at}+1999" for at in range(4)]
    scene.list_popular(6, films, {1: 0b0111, 2: 0b0001})
    for user in (1, 2, 3):
        scene.answer(user, NOON, ["x+1999", "y+1999", "v+1999"])
        scene.begin(user, films[3], NOON + HOUR)
    scene.begin(5, "z+1999", NOON + 30 * HOUR)
    scene.collect()
    (group,) = scene.metrics().groups
    assert group.answers == 3
    assert group.popular is not None
    assert group.popular.value == pytest.approx(0.5)
