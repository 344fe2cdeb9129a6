from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model import RESERVE
from auto_deployment.ranking.exploration import CANDIDATES, explore_arrays
from auto_deployment.ranking.ranker import Popularity
from auto_deployment.reports.exposure import exposures, gini, measure, top_share
from auto_deployment.training.seen import Seen
from tests.unit.auto_deployment.samples import SCALE, ratings_of

EMPTY = np.iinfo(np.uint16).max


def lists(*rows: list[int]) -> np.ndarray:
    """Lists of 40 places; the places after the given films are empty."""
    top = np.full((len(rows), RESERVE), EMPTY, dtype=np.uint16)
    for row, films in zip(top, rows, strict=True):
        row[: len(films)] = films
    return top


def test_only_the_places_that_are_served_count() -> None:
    """The first 20 of the 40; an empty place shows nothing."""
    shown = exposures(lists(list(range(30)), [3, 0], []), 30)
    assert shown.tolist() == [2, 1, 1, 2, *[1] * 16, *[0] * 10]


@pytest.mark.parametrize(
    ("counts", "expected"), [([5, 5, 5, 5], 0), ([0, 0, 0, 8], 0.75), ([1, 3], 0.25), ([0, 0], 0), ([], 0)]
)
def test_the_gini_of_known_counts(counts: list[int], expected: float) -> None:
    """0 where all have the same, (n - 1) / n where one has all."""
    assert gini(np.array(counts, dtype=np.int64)) == pytest.approx(expected)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50))
def test_the_gini_is_half_the_mean_difference(counts: list[int]) -> None:
    """As it is defined: over all pairs, in units of the mean."""
    values = np.array(counts, dtype=np.int64)
    pairs = np.abs(values[:, None] - values).mean()
    assert gini(values) == pytest.approx(pairs / (2 * values.mean()) if values.any() else 0, abs=1e-9)


def test_the_share_of_the_films_with_the_most() -> None:
    """At least one film, whatever the share."""
    counts = np.array([1, 6, 3], dtype=np.int64)
    assert [top_share(counts, share) for share in (0.01, 0.67, 1.0)] == [0.6, 0.9, 1.0]


def test_novelty_and_audience_of_known_lists() -> None:
    """All four users rated film 0, one user film 1, one film 2. The lists show film 1 twice and film 2 once."""
    rated = [(0, 0, 5.0), (1, 0, 5.0), (2, 0, 5.0), (3, 0, 5.0), (0, 1, 5.0), (3, 2, 4.0)]
    ratings = ratings_of(rated)
    seen, top = Seen.of(ratings.user, ratings.film, 4), lists([2], [1], [1], [])
    popularity = Popularity(ratings, None, 4, SCALE)
    exposure = measure(top, exposures(top, 4), seen, popularity)
    assert (exposure.users, exposure.films, exposure.coverage) == (4, 4, 0.5)
    assert (exposure.novelty, exposure.audience) == (2.0, 0.25)
    assert [exposure.history_novelty, exposure.history_audience] == pytest.approx([4 / 6, 0.75])
    assert exposure.curve[::5] == pytest.approx([0, 2 / 3, 1, 1, 1])


def test_the_bare_popular_list_is_recognised() -> None:
    """A list without the films a user knows is still the popular list; with one other place it is not."""
    rated = [(user, film, 5.0) for user in range(4) for film in range(user, 30)]
    ratings = ratings_of(rated)
    seen, popularity = Seen.of(ratings.user, ratings.film, 6), Popularity(ratings, None, 40, SCALE)
    top = np.where((rows := popularity.top(0, 6, seen, RESERVE)) < 0, EMPTY, rows).astype(np.uint16)
    top[4, [18, 19]] = top[4, [19, 18]]
    top[5, [20, 21]] = top[5, [21, 20]]  # beyond what is served
    assert measure(top, exposures(top, 40), seen, popularity).bare_popular == pytest.approx(5 / 6)


def test_exploration_draws_films_that_few_lists_show_and_the_user_does_not_know() -> None:
    """Each once, none of the user's own list, of the rarer half; for the others none of their lists."""
    draw, films = np.random.default_rng(3), 200
    top = np.stack([np.sort(draw.choice(120, RESERVE, replace=False)) for _ in range(50)]).astype(np.uint16)
    pairs = draw.integers(0, 50, 2000).astype(np.int32), draw.integers(0, films, 2000).astype(np.int32)
    seen, shown = Seen.of(*pairs, 50), exposures(top, films)
    cold = np.arange(150, 190, dtype=np.uint16)[None]
    made = explore_arrays({"top": top, "cold": cold}, shown, seen, 1)
    rare = set(np.argsort(shown, kind="stable")[:100].tolist())
    assert set(made["explore_pool"].tolist()) == rare - set(cold[0].tolist())
    for user, row in enumerate(made["explore"].tolist()):
        drawn = [film for film in row if film != EMPTY]
        had = set(seen.films[seen.starts[user] : seen.starts[user + 1]].tolist())
        assert CANDIDATES / 2 <= len(drawn) == len(set(drawn))
        assert set(drawn) <= set(made["explore_pool"].tolist()) - had - set(top[user].tolist())
    assert np.unique(made["explore"]).size > 40
    again = explore_arrays({"top": top, "cold": cold}, shown, seen, 1)
    assert np.array_equal(made["explore"], again["explore"])


def test_a_user_who_knows_every_film_has_nothing_to_explore() -> None:
    """All of the places are empty."""
    seen = Seen.of(np.zeros(30, dtype=np.int32), np.arange(30, dtype=np.int32), 1)
    made = explore_arrays({"top": lists([]), "cold": lists([0])}, np.zeros(30, dtype=np.int64), seen, 0)
    assert (made["explore"] == EMPTY).all()
