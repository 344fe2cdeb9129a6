from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.training.latest import with_latest_films
from tests.unit.auto_deployment.samples import dataset_of, random_ratings

if TYPE_CHECKING:
    from auto_deployment.training.dataset import Dataset

USERS, FILMS = 20, 15


def data(moments: int) -> Dataset:
    """Ratings and watches of overlapping pairs, at so many different times."""
    draw = random.Random(moments)
    watched = draw.sample([(user, film) for user in range(USERS - 2) for film in range(FILMS)], 150)
    made = dataset_of(random_ratings(120, USERS - 1, FILMS), USERS, FILMS, watched)
    rated_at, watched_at = (np.sort(np.array(draw.choices(range(moments), k=count))) for count in (120, 150))
    return replace(made, ratings=replace(made.ratings, time=rated_at), watches=replace(made.watches, time=watched_at))


def pairs(dataset: Dataset) -> dict[tuple[int, int], int]:
    """The latest time of each pair."""
    found: dict[tuple[int, int], int] = {}
    for rows in (dataset.ratings, dataset.watches):
        for user, film, time in zip(rows.user.tolist(), rows.film.tolist(), rows.time.tolist(), strict=True):
            found[user, film] = max(time, found.get((user, film), time))
    return found


def test_each_user_keeps_the_latest_films_with_ratings_and_watches() -> None:
    """Of equal times the first film. What is kept stays in its order, with its first version."""
    for moments in (7, 10_000):
        whole = data(moments)
        cut = with_latest_films(whole, 4)
        latest = pairs(whole)
        wanted = {
            (user, film)
            for user in range(USERS)
            for film in sorted({film for owner, film in latest if owner == user}, key=lambda film: (-latest[user, film], film))[
                :4
            ]
        }
        for old, new in ((whole.ratings, cut.ratings), (whole.watches, cut.watches)):
            kept = [pair in wanted for pair in zip(old.user.tolist(), old.film.tolist(), strict=True)]
            assert np.array_equal(new.film, old.film[kept])
            assert np.array_equal(new.time, old.time[kept])
        kept = [pair in wanted for pair in zip(whole.watches.user.tolist(), whole.watches.film.tolist(), strict=True)]
        assert np.array_equal(cut.first_versions, whole.first_versions[kept])
        assert 0 < len(cut.ratings) < len(whole.ratings)


def test_all_that_users_have_seen_and_all_ratings_are_still_counted() -> None:
    """With users and films of the whole table."""
    whole = data(50)
    cut = with_latest_films(whole, 2)
    assert cut.seen is not None
    seen = {(user, film) for user in range(USERS) for film in cut.seen.pairs(user, user + 1)[1].tolist()}
    assert seen == set(pairs(whole))
    assert sum((cut.distribution or {}).values()) == len(whole.ratings) == 120
    assert (cut.users is whole.users, cut.films, cut.rows) == (True, whole.films, whole.rows)


def test_nothing_is_cut_where_users_have_no_more_films() -> None:
    """The rows are the same."""
    whole = data(50)
    cut = with_latest_films(whole, FILMS)
    assert np.array_equal(cut.ratings.film, whole.ratings.film)
    assert np.array_equal(cut.watches.minutes, whole.watches.minutes)
