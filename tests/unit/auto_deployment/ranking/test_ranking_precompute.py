from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.model import RESERVE
from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.precompute import BLOCK_USERS, cold_arrays, serving_arrays
from auto_deployment.ranking.ranker import NONE, Popularity
from tests.unit.auto_deployment.samples import SCALE, dataset_of, random_ratings

if TYPE_CHECKING:
    from auto_deployment.ranking.ranker import Indices
    from auto_deployment.training.seen import Seen


class OneFilm:
    """Ranks the last film and nothing else, and remembers which users it was asked for."""

    name = "one"

    def __init__(self, film: int) -> None:
        self.film = film
        self.asked: list[tuple[int, int]] = []

    def top(self, start: int, stop: int, seen: Seen, count: int) -> Indices:
        """The film, then nothing."""
        assert seen.starts.size
        self.asked.append((start, stop))
        rows = np.full((stop - start, count), NONE, dtype=np.int32)
        rows[:, 0] = self.film
        return rows


def test_every_user_has_a_row_without_what_they_saw() -> None:
    """The ranker's rows, the users' ids and the films' names stand in the arrays as the service reads them."""
    data = dataset_of(random_ratings(80, 10, 60), 12, 60, [(11, 0), (11, 1)])
    popularity, seen = Popularity(data.ratings, data.watches, 60, SCALE), Feedback.of(data, SCALE).seen()
    arrays = serving_arrays(data, popularity, seen, lambda _: None)
    assert arrays["users"].tolist() == list(range(0, 120, 10))
    assert (arrays["top"].shape, str(arrays["top"].dtype)) == ((12, RESERVE), "uint16")
    assert arrays["top"].tolist() == popularity.top(0, 12, seen, RESERVE).tolist()
    seen_pairs = {*zip(data.ratings.user.tolist(), data.ratings.film.tolist(), strict=True), (11, 0), (11, 1)}
    assert not {(user, film) for user, row in enumerate(arrays["top"].tolist()) for film in row} & seen_pairs
    starts = [0, *arrays["film_ends"].tolist()]
    text = arrays["film_text"].tobytes().decode()
    assert tuple(text[starts[at] : starts[at + 1]] for at in range(60)) == data.films


def test_a_place_without_a_film_holds_the_highest_number() -> None:
    """Fewer films than places, also in the lists for unknown users."""
    data = dataset_of([(0, 0, 5.0), (0, 2, 4.0), (1, 1, 3.0)], 2, 3)
    popularity = Popularity(data.ratings, data.watches, 3, SCALE)
    arrays = serving_arrays(data, popularity, Feedback.of(data, SCALE).seen(), lambda _: None)
    arrays |= cold_arrays(popularity.order, arrays["top"].dtype)
    empty = np.iinfo(np.uint16).max
    assert arrays["top"][0].tolist() == [1] + [empty] * (RESERVE - 1)
    assert sorted(arrays["cold"][0].tolist()) == [0, 1, 2] + [empty] * (RESERVE - 3)


@pytest.mark.parametrize(("films", "kind"), [(65_534, np.uint16), (65_535, np.uint32)])
def test_many_films_need_wider_places(films: int, kind: type[np.uint16 | np.uint32]) -> None:
    """From 65,535 films on, so that the mark of an empty place stays free."""
    data = dataset_of([(0, 0, 5.0)], 1, films)
    arrays = serving_arrays(data, OneFilm(films - 1), Feedback.of(data, SCALE).seen(), lambda _: None)
    assert arrays["top"].dtype == kind
    assert arrays["top"][0].tolist() == [films - 1] + [np.iinfo(kind).max] * (RESERVE - 1)


def test_users_are_ranked_block_by_block() -> None:
    """Each user once, in blocks of bounded size; each block is a step of its users."""
    count = 2 * BLOCK_USERS + 5
    data = dataset_of([(0, 0, 5.0)], count, 2)
    ranker, steps = OneFilm(1), list[int]()
    arrays = serving_arrays(data, ranker, Feedback.of(data, SCALE).seen(), steps.append)
    assert ranker.asked == [(0, BLOCK_USERS), (BLOCK_USERS, 2 * BLOCK_USERS), (2 * BLOCK_USERS, count)]
    assert steps == [BLOCK_USERS, BLOCK_USERS, 5]
    assert (arrays["top"][:, 0] == 1).all()
