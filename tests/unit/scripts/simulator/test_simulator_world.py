from __future__ import annotations

import numpy as np
import pytest

from scripts.simulator import World
from scripts.simulator.world import HIGHEST_USER_ID, LONGEST_RUNTIME


@pytest.fixture(scope="module")
def world() -> World:
    """A middling world."""
    return World.generate(5, users=3000, films=2000)


def test_the_same_seed_gives_the_same_world(world: World) -> None:
    """A world is fixed by its seed and sizes."""
    again = World.generate(5, users=3000, films=2000)
    assert again.films.ids == world.films.ids
    assert again.films.genres == world.films.genres
    assert np.array_equal(again.users.ids, world.users.ids)
    assert np.array_equal(again.users.tastes, world.users.tastes)


def test_another_seed_gives_another_world(world: World) -> None:
    """Seeds differ in films and in users."""
    other = World.generate(6, users=3000, films=2000)
    assert other.films.ids != world.films.ids
    assert not np.array_equal(other.users.ids, world.users.ids)


def test_popularity_falls_with_the_rank(world: World) -> None:
    """The second film is half as popular as the first one, as Zipf has it, and the shares sum to 1."""
    popularity = world.films.popularity
    assert popularity.sum() == pytest.approx(1.0)
    assert popularity[1] == pytest.approx(popularity[0] / 2)
    assert (np.diff(popularity) < 0).all()


def test_user_ids_are_distinct_and_of_seven_digits_at_most(world: World) -> None:
    """Ids are those of a service with a million users."""
    assert len(np.unique(world.users.ids)) == 3000
    assert world.users.ids.min() >= 1
    assert world.users.ids.max() <= HIGHEST_USER_ID


def test_a_user_is_found_by_id_and_a_stranger_is_not(world: World) -> None:
    """The place of an id is its own; an id between two others, or above all, has none."""
    for place in (0, 17, 2999):
        assert world.users.place(int(world.users.ids[place])) == place
    strangers = set(range(1, 2000)) - set(world.users.ids.tolist())
    assert world.users.place(min(strangers)) is None
    assert world.users.place(HIGHEST_USER_ID + 1) is None


def test_films_have_genres_runtimes_and_unit_directions(world: World) -> None:
    """What the rest relies on: 1 to 3 genres, minutes up to the longest series, directions of length 1."""
    films = world.films
    assert {len(genres) for genres in films.genres} == {1, 2, 3}
    assert 5 <= min(films.runtimes) < 60
    assert 240 < max(films.runtimes) <= LONGEST_RUNTIME
    assert np.linalg.norm(films.directions, axis=1) == pytest.approx(1.0)


def test_films_of_a_genre_point_the_same_way(world: World) -> None:
    """Two films that share their only genre are nearer to each other than films at large."""
    films = world.films
    alone = [place for place, genres in enumerate(films.genres) if genres == (0,)]
    likeness = films.directions[alone] @ films.directions[alone].T
    assert likeness.mean() > (films.directions @ films.directions.T).mean() + 0.2
