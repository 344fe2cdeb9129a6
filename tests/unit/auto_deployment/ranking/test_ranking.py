from __future__ import annotations

import numpy as np
import pytest

from auto_deployment.ranking import als, ease
from auto_deployment.ranking.als import ImplicitAls
from auto_deployment.ranking.ease import Ease, item_weights
from auto_deployment.ranking.implicit_ratings import preferences_of_stars, preferences_of_watches
from auto_deployment.ranking.ranker import NONE, Popularity
from auto_deployment.ranking.ranker_factory import NAMES
from auto_deployment.training.dataset import Watches
from tests.unit.auto_deployment.ranking.tastes import FILMS, USERS, feedback_of, ranker_of, two_tastes
from tests.unit.auto_deployment.samples import SCALE, ratings_of

PERSONAL = ("ease", "als", "blend")


@pytest.mark.parametrize("name", PERSONAL)
def test_everybody_gets_films_of_their_own_taste(name: str) -> None:
    """From one liked film on, the first places are the unseen films that those with the same taste like."""
    feedback = two_tastes()
    seen = feedback.seen()
    rows = ranker_of(name, feedback).top(0, USERS, seen, FILMS).tolist()
    for user in range(USERS - 1):
        own = {film for film in range(user % 2, FILMS, 2) if film not in seen.films[seen.starts[user] : seen.starts[user + 1]]}
        assert set(rows[user][: len(own)]) == own


@pytest.mark.parametrize("name", NAMES)
def test_every_ranker_keeps_to_the_contract(name: str) -> None:
    """Its name, its shape, nothing seen, nothing twice, the same in blocks of any size and made again."""
    feedback = two_tastes()
    seen = feedback.seen()
    ranker = ranker_of(name, feedback)
    rows = ranker.top(0, USERS, seen, FILMS + 2)
    assert ranker.name == name
    assert (rows.shape, str(rows.dtype)) == ((USERS, FILMS + 2), "int32")
    for user, row in enumerate(rows.tolist()):
        films = [film for film in row if film != NONE]
        assert row == films + [NONE] * (len(row) - len(films))
        assert sorted(films + seen.films[seen.starts[user] : seen.starts[user + 1]].tolist()) == list(range(FILMS))
    blocks = np.concatenate([ranker.top(start, min(start + 7, USERS), seen, FILMS + 2) for start in range(0, USERS, 7)])
    assert blocks.tolist() == rows.tolist()
    assert ranker_of(name, feedback).top(0, USERS, seen, FILMS + 2).tolist() == rows.tolist()
    assert ranker.top(5, 5, seen, 3).shape == (0, 3)


@pytest.mark.parametrize("name", NAMES)
def test_who_is_unknown_gets_what_is_popular(name: str) -> None:
    """The last user did nothing at all."""
    feedback = two_tastes()
    popular = ranker_of("popularity", feedback).top(USERS - 1, USERS, feedback.seen(), FILMS)
    assert ranker_of(name, feedback).top(USERS - 1, USERS, feedback.seen(), FILMS).tolist() == popular.tolist()


def test_no_ranker_has_another_name() -> None:
    """What there is stands in the message."""
    with pytest.raises(ValueError, match="no ranker 'best': there are popularity, svd"):
        ranker_of("best", two_tastes())


def test_low_ratings_are_no_likes() -> None:
    """1 and 2 of 5 count nothing, more stars count more, on any scale."""
    assert preferences_of_stars(np.arange(1, 6, dtype=np.float32), SCALE) == pytest.approx([0, 0, 0.7, 0.85, 1])
    assert preferences_of_stars(np.array([0.5, 2, 2.5, 5], dtype=np.float32), (0.5, 5.0)) == pytest.approx([0, 0, 0.625, 1])


def test_watched_to_the_end_says_more_than_left_after_three_minutes() -> None:
    """By the film's length, which its audience tells; watched longer than that is watched to the end."""
    watched = [(user, 0, 100) for user in range(20)] + [
        (20, 0, 3),
        (21, 0, 50),
        (22, 0, 400),
        *((user, 1, 40) for user in range(15)),
    ]
    result = preferences_of_watches(feedback_of([], 30, 2, watched).watches)
    assert result[20:23] == pytest.approx([0, 0.425, 0.85])
    assert result[[0, 30]] == pytest.approx([0.85, 0.85])


def test_a_film_of_few_watchers_is_as_long_as_films_are() -> None:
    """Its own audience may have left early to a man."""
    watched = [(user, 0, 100) for user in range(20)] + [(0, 1, 5), (1, 1, 5)]
    assert preferences_of_watches(feedback_of([], 30, 2, watched).watches)[20:] == pytest.approx([0, 0])


def test_a_rating_outweighs_the_watch_of_the_same_film() -> None:
    """Who sat through a film and gave it one star did not like it; a watch alone counts."""
    feedback = feedback_of([(0, 0, 1.0), (0, 1, 5.0)], 2, 3, [(0, 0, 90), (0, 1, 90), (1, 2, 90)])
    assert feedback.taste().toarray() == pytest.approx(np.array([[0, 1, 0], [0, 0, 0.85]]))
    assert [feedback.seen().films[:2].tolist(), feedback.seen().starts.tolist()] == [[0, 1], [0, 2, 3]]


def test_nothing_known_is_no_taste() -> None:
    """No rating and no watch, without a warning."""
    assert feedback_of([], 2, 3).taste().toarray().tolist() == [[0, 0, 0], [0, 0, 0]]
    assert len(preferences_of_watches(Watches(*(np.zeros(0, dtype=np.int32) for _ in range(4))))) == 0  # type: ignore[arg-type]


def test_weights_are_the_solution_of_the_least_squares() -> None:
    """Of `||taste - taste @ weights||^2 + ridge ||weights||^2` with a diagonal of 0, film by film plain ridge regression."""
    taste = two_tastes().taste()
    weights, dense = item_weights(taste, 3.0), taste.toarray().astype(np.float64)
    assert np.diagonal(weights).tolist() == [0] * FILMS
    for film in range(FILMS):
        others = np.arange(FILMS) != film
        rest = dense[:, others]
        expected = np.linalg.solve(rest.T @ rest + 3.0 * np.eye(FILMS - 1), rest.T @ dense[:, film])
        assert weights[others, film] == pytest.approx(expected, abs=1e-5)


def test_blocks_of_films_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix is built and inverted a block at a time."""
    taste = two_tastes().taste()
    whole = item_weights(taste, 3.0)
    monkeypatch.setattr(ease, "BLOCK_FILMS", 7)
    assert item_weights(taste, 3.0) == pytest.approx(whole, abs=1e-6)


def test_films_with_few_likes_stay_out_of_the_dense_part() -> None:
    """Their scores are 0, those of the others as if the rest were not there."""
    taste = two_tastes().taste()
    counts = np.bincount(taste.indices, minlength=FILMS)
    kept = np.sort(np.argsort(-counts, kind="stable")[:12])
    part = Ease(taste, 3.0, most=12)
    assert part.weights.shape == (12, 12)
    scores = part.scores(0, USERS)
    assert scores[:, kept].tolist() == (taste[:, kept] @ item_weights(taste[:, kept], 3.0)).tolist()
    assert not np.delete(scores, kept, axis=1).any()


def test_films_liked_without_others_cost_nothing() -> None:
    """They have no weights, so leaving them out of the matrix changes no score; where there is no other film it is empty."""
    alone = [(30 + film, film, 5.0) for film in range(8)]
    shared = [(user, film, 4.0) for user in range(10) for film in range(8 + user % 2, 14, 2)]
    taste = feedback_of([*alone, *shared, (40, 9, 5.0)], 50, 20).taste()
    part = Ease(taste, 3.0)
    assert part.weights.shape == (6, 6)
    assert part.scores(0, 50) == pytest.approx(taste @ item_weights(taste, 3.0), abs=1e-6)
    nothing = Ease(feedback_of(alone, 50, 20).taste(), 3.0)
    assert nothing.weights.shape == (0, 0)
    assert not nothing.scores(0, 50).any()


def test_factors_are_the_solution_of_the_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row that of the weighted ridge regression, whether a row has fewer films than there are factors or more."""
    draw = np.random.default_rng(2)
    taste = feedback_of([(user, film, 4.0) for user in range(40) for film in draw.permutation(30)[: user % 12]], 40, 30).taste()
    others = draw.normal(size=(30, 5))
    side = als.Side.of(others)
    for batch in (als.BATCH, 60):
        monkeypatch.setattr(als, "BATCH", batch)
        found = als.folded_in(taste, side, 0.7) @ side.factors.T
        for user, liked in enumerate(taste.toarray().astype(np.float64)):
            known = np.count_nonzero(liked)
            matrix = others.T @ (others * (1 + als.ALPHA * liked)[:, None]) + 0.7 * np.sqrt(known) * np.eye(5)
            expected = np.linalg.solve(matrix, others.T @ ((1 + als.ALPHA * liked) * (liked > 0)))
            assert found[user] == pytest.approx(others @ expected if known else np.zeros(30), abs=1e-9)


def test_a_matrix_without_a_ridge_is_an_error_with_a_reason() -> None:
    """A film that nobody likes has no row of its own then."""
    with pytest.raises(ArithmeticError, match="is the ridge above 0"):
        item_weights(feedback_of([(0, 0, 5.0)], 1, 2).taste(), 0.0)


def test_als_predicts_what_is_liked() -> None:
    """About 1 for what a user liked, about 0 for the other taste's films; another seed finds about the same."""
    taste = two_tastes().taste()
    first, other = (ImplicitAls(taste, 0.5, seed, factors=2).scores(0, USERS) for seed in (0, 1))
    liked = taste.toarray()[2:-1] > 0
    assert first[2:-1][liked].mean() > 0.9
    assert np.abs(first[2:-1:2, 1::2]).mean() < 0.1
    assert first.tolist() != other.tolist()
    assert first == pytest.approx(other, abs=0.02)


def test_what_is_popular_now_fades_with_its_half_life() -> None:
    """Ten old votes against six new ones: with a half-life that is short beside the time between them the new ones lead."""
    rated = ratings_of([*((user, 0, 5.0) for user in range(10)), *((user, 1, 5.0) for user in range(10, 16))])
    for half_life, order in ((None, [0, 1]), (1e9, [0, 1]), (4e6, [1, 0])):
        assert Popularity(rated, None, 2, SCALE, half_life).order.tolist() == order
    assert Popularity(rated, None, 2, SCALE, 15e6).scores[1] == pytest.approx(sum(0.5 ** (age / 15) for age in range(6)))
