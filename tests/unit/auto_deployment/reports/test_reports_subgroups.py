from __future__ import annotations

import numpy as np
import pytest

from auto_deployment.evaluation.held_out import HeldOut, RatingErrors
from auto_deployment.ranking.metrics import Interval, UserMetrics
from auto_deployment.reports.quality_by_group import by_group, by_step, user_errors
from auto_deployment.reports.subgroups import FEWEST_USERS, split


def test_a_planted_gap_is_found_and_beyond_chance() -> None:
    """Means 0.6 and 0.2 of 200 users each: the gap's interval holds 0.4, and groups by chance stay well below."""
    draw = np.random.default_rng(5)
    labels = np.repeat(["F", "M"], 200)
    values = draw.normal(np.where(labels == "F", 0.6, 0.2), 0.2)
    found = split(values, labels, 0)
    assert found.gap is not None
    assert (found.gap.highest, found.gap.lowest) == ("F", "M")
    assert found.gap.interval.low < 0.4 < found.gap.interval.high
    assert found.gap.by_chance < 0.1 < found.gap.interval.low
    assert found.groups["F"].low < 0.6 < found.groups["F"].high
    assert found.users == {"F": 200, "M": 200}


def test_groups_by_chance_are_not_beyond_chance() -> None:
    """In 40 draws of eight groups the gap is above its bound at most a few times."""
    beyond = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        gap = split(draw.random(400), draw.choice(list("abcdefgh"), 400), seed).gap
        assert gap is not None
        beyond += gap.interval.mean > gap.by_chance
    assert beyond <= 6


def test_groups_that_are_too_small_are_reported_and_left_out() -> None:
    """Users without a label are in no group."""
    labels = np.array(["F"] * FEWEST_USERS + ["M"] * (FEWEST_USERS - 1) + [""] * 50)
    found = split(np.ones(len(labels)), labels, 0)
    assert (list(found.groups), found.too_small, found.gap) == (["F"], {"M": FEWEST_USERS - 1}, None)
    assert split(np.ones(3), np.array(["", "", ""]), 0).groups == {}


def test_a_users_error_counts_once_however_much_they_rate() -> None:
    """The root of each user's mean square."""
    errors = RatingErrors(np.array([7, 3, 7, 7], dtype=np.int32), np.array([4.0, 1.0, 4.0, 1.0]))
    users, found = user_errors(errors)
    assert users.tolist() == [3, 7]
    assert found == pytest.approx([1.0, 3**0.5])


def held_out() -> HeldOut:
    """100 users: even ones have an NDCG of 1, odd ones of 0; user u had rated u films; popularity gives half of all."""
    users = np.arange(1, 101, dtype=np.int32)
    even = (users % 2 == 0).astype(float)
    figures = {"ease": UserMetrics(users, even, even), "popularity": UserMetrics(users, even / 2, even / 2)}
    absent = UserMetrics(np.array([101, 102], dtype=np.int32), np.array([0.5, 0.0]), np.array([0.2, 0.0]))
    return HeldOut(figures, absent, np.arange(103), RatingErrors(users, even), np.arange(103))


def mean_of(interval: Interval | None) -> float:
    """The mean of an interval that must be there."""
    assert interval is not None
    return interval.mean


def test_quality_by_group_is_that_of_the_ranker_in_use() -> None:
    """For every measure, over the users whose group is known."""
    parity = np.where(np.arange(103) % 2 == 0, "even", "odd")
    quality = by_group(held_out(), "ease", {"parity": parity}, 0)
    assert quality.users == 100
    assert mean_of(quality.all["ndcg_at_10"]) == 0.5
    for measure in ("ndcg_at_10", "recall_at_20", "rmse"):
        found = quality.by["parity"][measure]
        assert {name: each.mean for name, each in found.groups.items()} == {"even": 1.0, "odd": 0.0}
        assert (found.gap and found.gap.highest, found.users) == ("even", {"even": 50, "odd": 50})


def test_quality_by_step_counts_every_user_once() -> None:
    """From nothing known, by the popular list, to 20 films and more; each step beside the popular list."""
    steps = by_step(held_out(), "ease", 0)
    assert {name: each.users for name, each in steps.items()} == {
        "nothing known": 2,
        "1 film": 1,
        "2 to 4 films": 3,
        "5 to 19 films": 15,
        "20 films and more": 81,
    }
    assert mean_of(steps["nothing known"].recall_at_20) == pytest.approx(0.1)
    assert steps["nothing known"].recall_above_popularity is None
    assert mean_of(steps["2 to 4 films"].recall_above_popularity) == pytest.approx(1 / 3)
    assert steps["1 film"].recall_at_20 is None
