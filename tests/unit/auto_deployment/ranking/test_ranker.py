from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from surprise import SVD

from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.ranker import NONE, ByRating, Popularity, top_of
from auto_deployment.training.rating_model import Factors
from auto_deployment.training.seen import Seen
from auto_deployment.training.surprise_svd import SurpriseSVD
from tests.unit.auto_deployment.samples import SCALE, dataset_of, random_ratings, ratings_of, surprise_trainset, watches_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.ranking.ranker import Ranker

USERS, FILMS = 12, 9

pairs_of_small_sets = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, FILMS - 1)), max_size=60)
counts = st.integers(1, FILMS + 3)


def seen_from(pairs: list[tuple[int, int]], users: int = USERS) -> Seen:
    """What so many users have seen, of pairs (user, film)."""
    array = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    return Seen.of(array[:, 0], array[:, 1], users)


def exact_factors(seed: int = 0, users: int = USERS, films: int = FILMS) -> Factors:
    """Small whole numbers, of which every sum is exact, so that ties are ties whatever order they are added up in."""
    draw = np.random.default_rng(seed)
    numbers = [draw.integers(-1, 2, shape).astype(np.float32) for shape in ((users,), (films,), (users, 2), (films, 2))]
    return Factors(3.0, SCALE, *numbers)


def expected_rows(scores: npt.NDArray[np.floating[Any]], pairs: set[tuple[int, int]], count: int) -> list[list[int]]:
    """The obvious way: of each user the unseen films, the highest score first, of equal ones the first film."""
    rows = []
    for user, row in enumerate(scores.tolist()):
        films = [film for film in np.argsort(-np.array(row), kind="stable").tolist() if (user, film) not in pairs]
        rows.append((films + [NONE] * count)[:count])
    return rows


def ranker_of(kind: str) -> Ranker:
    """A ranker by its name, from random ratings."""
    rated = ratings_of(random_ratings(60, USERS, FILMS))
    popularity = Popularity(rated, None, FILMS, SCALE)
    return popularity if kind == "popularity" else ByRating(exact_factors(), rated, popularity)


def in_blocks(ranker: Ranker, seen: Seen, count: int, size: int) -> list[list[int]]:
    """The rows of all users, asked for so many users at a time."""
    blocks = [ranker.top(start, min(start + size, USERS), seen, count) for start in range(0, USERS, size)]
    return [row for block in blocks for row in block.tolist()]


@given(pairs_of_small_sets)
def test_seen_films_are_kept_once_and_in_order(pairs: list[tuple[int, int]]) -> None:
    """Of repeated pairs in any order each user's films, ascending."""
    seen = seen_from(pairs)
    films = {user: sorted({film for each, film in pairs if each == user}) for user in range(USERS)}
    assert [seen.films[seen.starts[user] : seen.starts[user + 1]].tolist() for user in range(USERS)] == list(films.values())


@given(pairs_of_small_sets, st.integers(0, USERS), st.integers(0, USERS))
def test_the_pairs_of_a_block_count_its_users_from_nought(pairs: list[tuple[int, int]], one: int, other: int) -> None:
    """The pairs of the users from one to before another, each once."""
    start, stop = sorted((one, other))
    users, films = seen_from(pairs).pairs(start, stop)
    expected = sorted({(user - start, film) for user, film in pairs if start <= user < stop})
    assert list(zip(users.tolist(), films.tolist(), strict=True)) == expected


def test_rated_and_watched_films_are_seen() -> None:
    """Of both tables."""
    data = dataset_of([(0, 3, 5.0), (2, 1, 1.0)], users=3, films=5, watched=[(0, 1), (2, 1), (1, 4)])
    seen = Feedback.of(data, SCALE).seen()
    assert [seen.films[seen.starts[user] : seen.starts[user + 1]].tolist() for user in range(3)] == [[1, 3], [4], [1]]


def test_one_vote_of_five_stars_does_not_lead() -> None:
    """A film that thirty like well enough stands before one that a single user adores."""
    rated = [
        (0, 0, 5.0),
        *((user, 1, 4.0 if user % 3 else 3.0) for user in range(1, 31)),
        *((user, 2, 2.0) for user in range(20)),
    ]
    order = Popularity(ratings_of(rated), None, 4, SCALE).order
    assert order.tolist() == [1, 2, 0, 3]


def test_of_equal_audiences_the_better_liked_film_leads() -> None:
    """Popularity is not the audience alone."""
    rated = [(user, film, stars) for user in range(20) for film, stars in ((0, 2.0), (1, 5.0))]
    assert Popularity(ratings_of(rated), None, 2, SCALE).order.tolist() == [1, 0]


def test_an_audience_counts_each_user_once() -> None:
    """Who rated and watched a film is one of its audience, not two."""
    rated = [(user, film, 4.0) for film in (0, 1) for user in range(4)]
    watched = [*((user, 0) for user in range(4)), (4, 1), (5, 1)]
    assert Popularity(ratings_of(rated), watches_of(watched), 2, SCALE).order.tolist() == [1, 0]


@pytest.mark.parametrize("rated", [[], [(7, 0, 1.0)]], ids=["nothing rated", "nothing liked"])
def test_where_nothing_is_liked_yet_the_audience_says_what_is_popular(rated: list[tuple[int, int, float]]) -> None:
    """A group, or a service, of whose users watches alone are known, or ratings that are all bad."""
    watched = watches_of([(0, 2), (1, 2), (2, 2), (0, 1), (1, 1), (0, 0)])
    popularity = Popularity(ratings_of(rated), watched, 3, SCALE)
    assert popularity.order.tolist() == [2, 1, 0]
    assert (popularity.scores > 0).all()


def test_watches_alone_make_a_film_popular() -> None:
    """A film that nobody rated has its watchers for an audience, and the share of likes of all films."""
    rated = [(user, 0, stars) for user, stars in enumerate((5.0, 5.0, 1.0, 1.0))]
    popularity = Popularity(ratings_of(rated), watches_of([(user, 1) for user in range(10)]), 3, SCALE)
    assert popularity.order.tolist() == [1, 0, 2]
    assert popularity.scores == pytest.approx([2.0, 5.0, 0.0])


@pytest.mark.parametrize(("scale", "leads"), [((1.0, 5.0), 1), ((1.0, 10.0), 0)])
def test_what_is_liked_depends_on_the_scale(scale: tuple[float, float], leads: int) -> None:
    """Four stars of five are a like, four stars of ten are none."""
    rated = [*((user, 0, 8.0) for user in range(20)), *((user, 1, 4.0) for user in range(21))]
    rated = [(user, film, min(stars, scale[1])) for user, film, stars in rated]
    assert Popularity(ratings_of(rated), None, 2, scale).order[0] == leads


@given(pairs_of_small_sets, counts, st.integers(1, USERS))
def test_popularity_is_the_same_order_for_all_without_what_they_saw(
    pairs: list[tuple[int, int]], count: int, size: int
) -> None:
    """Every user's row is the popular order without the seen films, in blocks of any size."""
    popularity = Popularity(ratings_of(random_ratings(50, USERS, FILMS)), None, FILMS, SCALE)
    scores = np.tile(popularity.scores, (USERS, 1))
    assert in_blocks(popularity, seen_from(pairs), count, size) == expected_rows(scores, set(pairs), count)


@given(st.integers(0, 50), pairs_of_small_sets, counts, st.integers(1, USERS))
def test_ranking_by_rating_is_the_order_of_the_scores(seed: int, pairs: list[tuple[int, int]], count: int, size: int) -> None:
    """Every user's row is the order of bias plus factors without the seen films, ties by film, in blocks of any size."""
    factors = exact_factors(seed)
    rated = ratings_of([(user, 0, 3.0) for user in range(USERS)])
    ranker = ByRating(factors, rated, Popularity(rated, None, FILMS, SCALE))
    scores = factors.film_bias + factors.user_factors @ factors.film_factors.T
    assert in_blocks(ranker, seen_from(pairs), count, size) == expected_rows(scores, set(pairs), count)


@given(
    npst.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 60)), elements=st.integers(0, 3)), st.integers(1, 25)
)
def test_of_equal_scores_the_first_film_wins(scores: npt.NDArray[np.float32], count: int) -> None:
    """Also where the last place is shared by more films than fit."""
    none = np.zeros(0, dtype=np.int32)
    expected = expected_rows(scores, set(), count)
    assert top_of(scores.copy(), none.astype(np.int64), none, count).tolist() == expected


def test_ranking_by_rating_is_surprises_order_before_clipping() -> None:
    """Each row falls in the library's own unclipped estimates, and what is left out is no better than the last."""
    users, films = 15, 30
    rated = [(user, film, 5.0 if film < 25 else stars) for user, film, stars in random_ratings(300, users, films)]
    svd = SVD(random_state=3).fit(surprise_trainset(rated))
    ratings = ratings_of(rated)
    ranker = ByRating(SurpriseSVD().fit(ratings, (users, films), SCALE, 3), ratings, Popularity(ratings, None, films, SCALE))
    rows = ranker.top(0, users, seen_from([], users), 20)
    beyond_the_scale = 0
    for user, row in enumerate(rows.tolist()):
        scores = [svd.estimate(svd.trainset.to_inner_uid(user), svd.trainset.to_inner_iid(film)) for film in range(films)]
        beyond_the_scale += sum(score > SCALE[1] for score in scores) > 1
        result = [scores[film] for film in row]
        assert len(set(row)) == 20
        assert all(before >= after - 1e-5 for before, after in pairwise(result))
        assert result[-1] >= max(score for film, score in enumerate(scores) if film not in row) - 1e-5
    assert beyond_the_scale > 5


def test_who_never_rated_gets_what_is_popular() -> None:
    """A user who only watched has no factors: the popular order without what was watched, beside rows of the SVD."""
    rated = ratings_of(random_ratings(60, USERS - 2, FILMS))
    popularity = Popularity(rated, None, FILMS, SCALE)
    seen = seen_from([(USERS - 1, 0), (USERS - 1, 1)])
    rows = ByRating(exact_factors(), rated, popularity).top(0, USERS, seen, 5)
    popular = popularity.top(0, USERS, seen, 5)
    assert rows[USERS - 2 :].tolist() == popular[USERS - 2 :].tolist()
    assert rows[: USERS - 2].tolist() != popular[: USERS - 2].tolist()


@pytest.mark.parametrize("kind", ["popularity", "svd"])
def test_who_saw_everything_gets_an_empty_row(kind: str) -> None:
    """And fewer films than were asked for leave the rest of a row empty."""
    ranker = ranker_of(kind)
    assert ranker.name == kind
    rows = ranker.top(0, USERS, seen_from([*((3, film) for film in range(FILMS)), (4, 0)]), FILMS + 2)
    assert rows.dtype == np.int32
    assert rows[3].tolist() == [NONE] * (FILMS + 2)
    assert sorted(rows[4].tolist()) == [NONE] * 3 + list(range(1, FILMS))
    assert sorted(rows[5].tolist()) == [NONE] * 2 + list(range(FILMS))


@pytest.mark.parametrize("kind", ["popularity", "svd"])
def test_no_user_is_no_row(kind: str) -> None:
    """An empty block is an empty block."""
    ranker = ranker_of(kind)
    assert ranker.top(4, 4, seen_from([]), 5).shape == (0, 5)
