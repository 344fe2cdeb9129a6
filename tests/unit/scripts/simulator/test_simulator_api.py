from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import quote

import pytest

from scripts.simulator import World
from scripts.simulator.api import OCCUPATIONS, RateLimit, reply
from scripts.simulator.world import GENRES, NO_YEAR


@pytest.fixture(scope="module")
def world() -> World:
    """A world with a film of each oddity."""
    return World.generate(1, users=200, films=600)


def test_a_user_is_reported_as_the_service_tells(world: World) -> None:
    """Id and age are numbers, occupation one of the service's, gender a letter; asked again, the answer is the same."""
    for user in world.users.ids[:50].tolist():
        status, document = reply(world, f"/user/{user}")
        assert status == HTTPStatus.OK
        assert list(document) == ["user_id", "age", "occupation", "gender"]
        assert document["user_id"] == user
        assert isinstance(document["age"], int)
        assert document["occupation"] in OCCUPATIONS
        assert document["gender"] in {"M", "F"}
        assert reply(world, f"/user/{user}") == (status, document)


def test_up_to_200_users_are_reported_in_one_answer(world: World) -> None:
    """Those who are known, in the order of the request; more are refused."""
    first, second = world.users.ids[:2].tolist()
    documents = [reply(world, f"/user/{user}")[1] for user in (second, first)]
    assert reply(world, f"/user/{second},1000001,{first}") == (HTTPStatus.OK, documents)
    assert reply(world, "/user/1000001,1000002") == (HTTPStatus.NOT_FOUND, {"message": "user not found"})
    many = ",".join(map(str, range(200)))
    assert reply(world, f"/user/{many}")[0] != HTTPStatus.BAD_REQUEST
    assert reply(world, f"/user/{many},200") == (HTTPStatus.BAD_REQUEST, {"message": "more than 200 users"})


def test_up_to_200_films_are_reported_in_one_answer(world: World) -> None:
    """As users are."""
    films = world.films.ids[:3]
    documents = [reply(world, f"/movie/{film}")[1] for film in films]
    assert reply(world, f"/movie/{','.join(films)},nothing+1999") == (HTTPStatus.OK, documents)
    assert reply(world, f"/movie/{','.join(['a'] * 201)}") == (HTTPStatus.BAD_REQUEST, {"message": "more than 200 movies"})


def test_users_differ() -> None:
    """Ages, occupations and genders are spread over the users."""
    crowd = World.generate(1, users=300, films=1)
    documents = [reply(crowd, f"/user/{user}")[1] for user in crowd.users.ids.tolist()]
    assert len({str(document["occupation"]) for document in documents}) == len(OCCUPATIONS)
    assert sum(document["gender"] == "M" for document in documents) / 300 == pytest.approx(0.7, abs=0.1)
    assert len({str(document["age"]) for document in documents}) > 20


def test_a_film_is_reported_as_the_service_tells(world: World) -> None:
    """Genres with id and name, most numbers as strings, and the year of the id in the release date."""
    for place, film in enumerate(world.films.ids):
        status, document = reply(world, f"/movie/{film}")
        assert status == HTTPStatus.OK
        assert document["id"] == film
        assert document["title"] == world.films.titles[place]
        assert document["adult"] == "False"
        assert document["runtime"] == world.films.runtimes[place]
        assert document["genres"] == [{"id": GENRES[genre][0], "name": GENRES[genre][1]} for genre in world.films.genres[place]]
        for name, form in (("popularity", r"\d+\.\d{6}"), ("vote_average", r"\d\.\d"), ("vote_count", r"[1-9]\d*")):
            assert re.fullmatch(form, str(document[name]))
            assert isinstance(document[name], str)
        year = world.films.years[place]
        assert document["release_date"] == "" if year == NO_YEAR else str(document["release_date"]).startswith(f"{year}-")


def test_an_escaped_id_is_understood(world: World) -> None:
    """A client that escapes the signs of an id gets the same film."""
    film = next(name for name in world.films.ids if "_" in name)
    assert reply(world, f"/movie/{quote(film, safe='')}") == reply(world, f"/movie/{film}")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/user/1000001", "user not found"),
        ("/user/99999999999999999999999", "user not found"),
        ("/user/abc", "user not found"),
        ("/user/-1", "user not found"),
        ("/movie/nothing+1999", "movie not found"),
        ("/movie/%ff", "movie not found"),
    ],
)
def test_what_is_missing_is_reported_with_404(world: World, path: str, message: str) -> None:
    """The service's own words."""
    assert reply(world, path) == (HTTPStatus.NOT_FOUND, {"message": message})


@pytest.mark.parametrize("path", ["/", "/user", "/recommend/1", "/movie/", "//[", "/movie/a/b"])
def test_another_path_is_not_found(world: World, path: str) -> None:
    """Only the two resources exist."""
    status, document = reply(world, path)
    assert status == HTTPStatus.NOT_FOUND
    assert str(document["message"]).startswith("not found")


def test_a_rate_limit_lets_through_what_it_says() -> None:
    """Ten a second: ten at once, then one more each tenth of a second, and never more than ten saved up."""
    now = [100.0]
    limit = RateLimit(10.0, lambda: now[0])
    assert sum(limit.allows() for _ in range(25)) == 10
    now[0] += 0.35
    assert sum(limit.allows() for _ in range(25)) == 3
    now[0] += 60
    assert sum(limit.allows() for _ in range(25)) == 10


def test_a_slow_rate_still_lets_one_through() -> None:
    """One request in ten seconds is one, not none."""
    now = [0.0]
    limit = RateLimit(0.1, lambda: now[0])
    assert [limit.allows(), limit.allows()] == [True, False]
    now[0] += 11
    assert [limit.allows(), limit.allows()] == [True, False]


def test_without_a_limit_all_pass() -> None:
    """None is no limit."""
    limit = RateLimit(None)
    assert all(limit.allows() for _ in range(1000))
