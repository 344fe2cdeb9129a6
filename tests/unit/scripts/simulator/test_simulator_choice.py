from __future__ import annotations

import numpy as np
import pytest

from scripts.simulator import World
from scripts.simulator.choice import Chooser, Offer, weights
from scripts.simulator.world import Draws

PICKS = 20_000


@pytest.fixture(scope="module")
def world() -> World:
    """A world of few films, so that each is picked often."""
    return World.generate(2, users=20, films=30)


def shares(world: World, seen: tuple[int, ...], offer: Offer) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The share of each film in many picks of one user."""
    chooser = Chooser(world, Draws(9, 9))
    picks = [chooser.pick(3, seen, offer) for _ in range(PICKS)]
    return np.bincount(picks, minlength=len(world.films.ids)) / PICKS


@pytest.mark.parametrize(
    ("seen", "offer"),
    [
        ((), Offer()),
        ((0, 1, 5), Offer()),
        ((), Offer((2, 3, 29), uplift=1.5)),
        ((2, 7), Offer((2, 3, 29), uplift=4.0)),
    ],
)
def test_films_are_picked_in_proportion_to_their_weights(world: World, seen: tuple[int, ...], offer: Offer) -> None:
    """However often proposals are turned down, the picks follow the weights, seen films and offers included."""
    expected = weights(world, 3, seen, offer)
    expected /= expected.sum()
    deviation = np.sqrt(expected * (1 - expected) / PICKS)
    assert (abs(shares(world, seen, offer) - expected) <= 4.5 * deviation).all()


def test_an_uplift_multiplies_the_weight_of_offered_films_only(world: World) -> None:
    """With an uplift of 0.5 an offered film weighs half as much again, any other one as before."""
    plain, lifted = weights(world, 3), weights(world, 3, (), Offer((4, 8), uplift=0.5))
    assert lifted[[4, 8]] == pytest.approx(1.5 * plain[[4, 8]])
    assert np.delete(lifted, [4, 8]) == pytest.approx(np.delete(plain, [4, 8]))


def test_a_film_near_to_the_taste_outweighs_one_as_popular(world: World) -> None:
    """Weights fall with the distance from the user's taste, apart from popularity."""
    likeness = world.films.directions @ world.users.tastes[3]
    ratio = weights(world, 3) / world.films.popularity
    assert (np.diff(ratio[np.argsort(likeness)]) >= 0).all()


def test_the_one_film_left_is_found(world: World) -> None:
    """A user who saw all but one film picks that one, unpopular as it is."""
    assert Chooser(world, Draws(1, 1)).pick(0, range(29)) == 29


def test_who_saw_everything_watches_something_again(world: World) -> None:
    """An empty shelf ends in a film seen before, not in an error."""
    assert 0 <= Chooser(world, Draws(1, 1)).pick(0, range(30)) < 30
