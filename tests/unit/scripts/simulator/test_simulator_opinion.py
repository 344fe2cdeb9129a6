from __future__ import annotations

from statistics import fmean

import pytest

from scripts.simulator import World
from scripts.simulator.choice import RATING_COUNTS, Opinion, rating_bounds, rating_of, share_watched
from scripts.simulator.world import Draws


def test_ratings_of_chance_values_come_out_as_counted() -> None:
    """Standard normal values, cut at the bounds, give the shares of the real month."""
    draws, bounds = Draws(1, 0), rating_bounds(RATING_COUNTS)
    ratings = [rating_of(draws.normal(), bounds) for _ in range(50_000)]
    for stars, count in enumerate(RATING_COUNTS, 1):
        expected = count / sum(RATING_COUNTS)
        assert ratings.count(stars) / len(ratings) == pytest.approx(expected, abs=0.008)


def test_a_higher_value_is_never_rated_lower() -> None:
    """Ratings rise from 1 to 5 along the values."""
    bounds = rating_bounds(RATING_COUNTS)
    ratings = [rating_of(value / 10, bounds) for value in range(-50, 50)]
    assert ratings == sorted(ratings)
    assert set(ratings) == {1, 2, 3, 4, 5}


def test_who_enjoys_a_film_watches_more_of_it() -> None:
    """The mean share watched rises with the joy, and stays above nothing and at most the whole film."""
    draws = Draws(2, 0)
    luck = [(draws.uniform(), draws.uniform()) for _ in range(2000)]
    means = [fmean(share_watched(joy, *pair) for pair in luck) for joy in (-2.0, 0.0, 2.0)]
    assert means == sorted(means)
    assert means[2] - means[0] > 0.2
    assert all(0 < share_watched(-2.0, *pair) <= 1 for pair in luck)


def test_calibration_sets_the_joy_of_the_picks_to_mean_0_and_deviation_1() -> None:
    """Whatever the picks, their joys are spread like standard values."""
    world = World.generate(4, users=50, films=40)
    picks = [(user, film) for user in range(50) for film in range(0, 40, 3)]
    opinion = Opinion.calibrated(world, picks)
    joys = [opinion.joy(*pick) for pick in picks]
    assert fmean(joys) == pytest.approx(0.0, abs=1e-9)
    assert fmean(joy * joy for joy in joys) == pytest.approx(1.0)


def test_joy_rises_with_taste_and_quality() -> None:
    """Of two films, the one whose direction is the user's own and whose quality is higher gives more joy."""
    world = World.generate(4, users=5, films=400)
    opinion = Opinion(world, 0.0, 1.0)
    likeness = world.films.directions @ world.users.tastes[2]
    good = max(range(400), key=lambda film: likeness[film] + world.films.quality[film])
    poor = min(range(400), key=lambda film: likeness[film] + world.films.quality[film])
    assert opinion.joy(2, good) > opinion.joy(2, poor)
    assert opinion.rating(opinion.joy(2, good), 0.0) > opinion.rating(opinion.joy(2, poor), 0.0)
