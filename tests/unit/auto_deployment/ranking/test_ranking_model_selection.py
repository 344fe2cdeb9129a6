from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_deployment.ranking import model_selection
from auto_deployment.ranking.holdout import folds
from auto_deployment.ranking.metrics import Interval, interval, lists_of, some_of, user_metrics
from auto_deployment.ranking.model_selection import (
    CandidateScore,
    _FoldEvaluator,
    _joined,
    choose,
    count_steps,
    pick,
    rankers_for,
)
from auto_deployment.ranking.offline_evaluation import measure
from auto_deployment.ranking.ranker_factory import NAMES, Tuning
from auto_deployment.training.surprise_svd import SurpriseSVD
from tests.unit.auto_deployment.ranking.tastes import feedback_of, ranker_of, two_tastes
from tests.unit.auto_deployment.samples import random_ratings, ratings_of

if TYPE_CHECKING:
    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.offline_evaluation import OfflineEvaluation

triples = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 12), st.integers(1, 5)), max_size=60, unique_by=lambda row: row[:2]
)


def judged(mean: float, low: float) -> CandidateScore:
    """A ranker of such a quality, `low` the lower end of what it is above popularity."""
    return CandidateScore(mean, mean, Interval(mean, mean, mean), Interval(low, low, low))


@given(triples, st.integers(0, 5))
@settings(deadline=None)
def test_folds_hold_a_fifth_of_each_user_out(rated: list[tuple[int, int, float]], seed: int) -> None:
    """Each row is in one of both sides; of n ratings a user has a fifth held out, one at least, none of a single one."""
    feedback = feedback_of(rated, 7, 13)
    for train, held_out in folds(feedback, seed):
        both = [*train.pairs(train.ratings).tolist(), *train.pairs(held_out).tolist()]
        assert sorted(both) == sorted(feedback.pairs(feedback.ratings).tolist())
        for user in range(7):
            count = sum(row[0] == user for row in rated)
            expected = 0 if count < 2 else max(round(count / 5), 1)
            assert int((held_out.user == user).sum()) == expected


def test_the_first_fold_holds_out_the_latest() -> None:
    """Of each user, not of all; the second one holds out others."""
    feedback = feedback_of([(user, film, 3.0) for film in range(10) for user in range(4)], 4, 10)
    latest, drawn = folds(feedback, 0)
    assert sorted(set(latest.held_out.film.tolist())) == [8, 9]
    assert sorted(set(drawn.held_out.film.tolist())) != [8, 9]
    assert [fold.held_out.film.tolist() for fold in folds(feedback, 0)] == [
        latest.held_out.film.tolist(),
        drawn.held_out.film.tolist(),
    ]


def test_a_held_out_pair_is_not_left_in_by_its_watch() -> None:
    """It would keep the film out of the list; the others' watches stay."""
    feedback = feedback_of([(0, film, 5.0) for film in range(5)], 2, 6, [(0, 4, 90), (0, 5, 90), (1, 4, 90)])
    latest = folds(feedback, 0)[0]
    assert latest.held_out.film.tolist() == [4]
    assert latest.train.pairs(latest.train.watches).tolist() == [5, 10]


def test_the_best_ranker_is_chosen_if_it_is_clearly_better() -> None:
    """An interval that reaches 0 is not enough: then it is popularity, or the next that is clearly above it."""
    assert pick({"popularity": judged(0.2, 0.0), "ease": judged(0.3, 0.05), "blend": judged(0.35, 0.04)}) == "blend"
    assert pick({"popularity": judged(0.2, 0.0), "ease": judged(0.3, 0.05), "blend": judged(0.35, -0.01)}) == "ease"
    assert pick({"popularity": judged(0.2, 0.0), "ease": judged(0.3, 0.0)}) == "popularity"
    assert pick({"popularity": CandidateScore(0.0, 0.0, None, None)}) == "popularity"


def test_tastes_are_found_where_there_are_some() -> None:
    """Two tastes: a personal ranker is clearly above popularity, its figures and its interval say so; each trial is a step."""
    steps: list[None] = []
    made = choose(two_tastes(), SurpriseSVD(), 0, lambda: steps.append(None))
    assert made.ranker in {"ease", "als", "blend"}
    won = made.scores[made.ranker]
    assert won.above_popularity is not None
    assert won.above_popularity.low > 0.02
    assert won.ndcg_at_10 > made.scores["popularity"].ndcg_at_10
    assert made.users > 50
    assert len(steps) == count_steps()
    assert choose(two_tastes(), SurpriseSVD(), 0, lambda: None) == made


def test_each_ranker_is_made_as_it_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a later one is tuned to, here a blend that is all popularity, changes none before it."""
    tuned = {name: 50.0 if "popularity" in name else value for name, value in model_selection.GRIDS["blend"][0].items()}
    monkeypatch.setitem(model_selection.GRIDS, "blend", [tuned])
    made = choose(two_tastes(), SurpriseSVD(), 0, lambda: None)
    evaluators = [_FoldEvaluator(fold, SurpriseSVD(), 0) for fold in folds(two_tastes(), 0)]
    for name in NAMES:
        again = _joined([evaluator.evaluate(name, made.tuning) for evaluator in evaluators])
        result = made.scores[name]
        assert (again.ndcg.mean(), again.recall.mean()) == (result.ndcg_at_10, result.recall_at_20), name


def test_where_there_is_no_taste_it_is_popularity() -> None:
    """Everybody draws films by the same shares."""
    draw = np.random.default_rng(3)
    shares = 1 / np.arange(1, 31)
    rated = [
        (user, int(film), 5.0) for user in range(80) for film in draw.choice(30, 8, replace=False, p=shares / shares.sum())
    ]
    assert choose(feedback_of(rated, 80, 30), SurpriseSVD(), 0, lambda: None).ranker == "popularity"


def test_too_little_to_choose_by_is_popularity() -> None:
    """A rating a user: nothing can be held out."""
    made = choose(feedback_of([(user, user % 3, 5.0) for user in range(9)], 9, 3), SurpriseSVD(), 0, lambda: None)
    assert (made.ranker, made.users) == ("popularity", 0)
    assert made.scores["blend"] == CandidateScore(0.0, 0.0, None, None)


def measured(test: list[tuple[int, int, float]]) -> OfflineEvaluation:
    """The figures of two tastes on such a test."""
    return measure(two_tastes(), ratings_of(test), SurpriseSVD(), 0, lambda: None)


def test_test_rows_cannot_influence_a_choice() -> None:
    """Whatever the test holds, even what would make every other ranker the best one, the choice is the same to the bit."""
    opposite = [(user, film, 5.0) for user in range(2, 59) for film in range((user + 1) % 2, 20, 2)]
    own = [(user, film, 5.0) for user in range(2, 59) for film in range(user % 2, 20, 2)]
    first, second = measured(opposite), measured(own)
    assert first.choice == second.choice == choose(two_tastes(), SurpriseSVD(), 0, lambda: None)
    assert first.metrics[first.choice.ranker].recall_at_20 != second.metrics[first.choice.ranker].recall_at_20
    assert second.metrics["ease"].ndcg_at_10 > second.metrics["popularity"].ndcg_at_10
    assert first.metrics["ease"].ndcg_at_10 < first.metrics["popularity"].ndcg_at_10


def test_users_without_training_are_counted_apart() -> None:
    """Also one beyond the rows of the training part; films that training has not seen count as relevant and are never hit."""
    result = measured([(0, 2, 5.0), (59, 2, 5.0), (60, 2, 5.0), (1, 20, 5.0)])
    assert result.absent_users == 2
    assert result.metrics["ease"].users == 2
    assert result.per_user["ease"].recall.tolist() == [1.0, 0.0]


def test_blocks_of_users_make_the_same_lists() -> None:
    """Runs and gaps: each user's list is their own."""
    feedback: Feedback = two_tastes()
    ranker, seen = ranker_of("ease", feedback), feedback.seen()
    users = np.array([0, 1, 2, 7, 9, 10, 59], dtype=np.int32)
    alone = [ranker.top(user, user + 1, seen, 20)[0].tolist() for user in users.tolist()]
    assert lists_of(ranker, users, seen).tolist() == alone
    assert lists_of(ranker, users[:0], seen).shape == (0, 20)


def test_a_users_own_figures() -> None:
    """Hits at the first and third place of three relevant films; who has no relevant film is left out; a pair counts once."""
    lists = np.full((3, 20), -1, dtype=np.int32)
    lists[0, :3], lists[1, :2] = [7, 8, 9], [1, 2]
    relevant = ratings_of([(4, 7, 5.0), (4, 9, 5.0), (4, 1, 5.0), (4, 9, 4.0), (6, 300, 5.0), (9, 7, 5.0)])
    result = user_metrics(np.array([4, 5, 6], dtype=np.int32), lists, relevant)
    assert result.users.tolist() == [4, 6]
    assert result.ndcg == pytest.approx([(1 + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2), 0])
    assert result.recall == pytest.approx([2 / 3, 0])
    assert result.quality == pytest.approx((result.ndcg + result.recall) / 2)


def test_an_interval_holds_the_mean_of_the_population() -> None:
    """In about 95 of 100 samples, and it is about as wide as theory says; of one value there is none."""
    draw = np.random.default_rng(0)
    found = [interval(draw.random(200), 0) for _ in range(60)]
    assert 52 <= sum(each.low <= 0.5 <= each.high for each in found if each) <= 60
    assert np.mean([each.high - each.low for each in found if each]) == pytest.approx(
        2 * 1.96 * math.sqrt(1 / 12 / 200), rel=0.1
    )
    assert interval(np.array([0.5]), 0) is None


def test_many_users_are_enough_of_them() -> None:
    """All of a few, and never more than the most."""
    assert len(some_of(np.arange(30, dtype=np.int32))) == 30
    assert len(some_of(np.arange(70_000, dtype=np.int32))) == 20_000


def test_some_users_keep_what_is_theirs() -> None:
    """Numbered anew in their order, with their ratings and watches in theirs."""
    feedback = feedback_of(
        [(user, film, float(1 + user)) for film in range(3) for user in range(4)], 4, 5, [(2, 4, 9), (3, 4, 8)]
    )
    some = feedback.of_users(np.array([1, 3], dtype=np.int32))
    assert (some.shape, some.scale) == ((2, 5), feedback.scale)
    assert some.ratings.user.tolist() == [0, 1] * 3
    assert some.ratings.stars.tolist() == [2.0, 4.0] * 3
    assert [some.watches.user.tolist(), some.watches.minutes.tolist()] == [[1], [8]]
    assert feedback.of_users(np.arange(4, dtype=np.int32)) is feedback


def test_of_a_large_table_a_sample_of_the_users_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the rows may be used: half of the users are judged by, and the choice is still right."""
    feedback = two_tastes()
    monkeypatch.setattr(model_selection, "MOST_ROWS", (len(feedback.ratings) + len(feedback.watches)) // 2)
    made = choose(feedback, SurpriseSVD(), 0, lambda: None)
    assert made.ranker in {"ease", "als", "blend"}
    assert 25 <= made.users <= 30


def test_only_what_is_asked_for_is_tried() -> None:
    """With what it is made of; another ranker's tuning stays as it is by itself. For `auto` it is all of them."""
    steps: list[None] = []
    made = choose(two_tastes(), SurpriseSVD(), 0, lambda: steps.append(None), rankers_for("ease"))
    assert list(made.scores) == ["popularity", "ease"]
    assert len(steps) == count_steps(["popularity", "ease"]) == 7
    assert (made.tuning.als_ridge, made.tuning.als_share) == (Tuning().als_ridge, Tuning().als_share)
    assert rankers_for("popularity") == ("popularity",)
    assert rankers_for("blend") == ("popularity", "ease", "als", "blend")
    assert rankers_for("auto") == NAMES
    assert rankers_for("svd", "ease") == ("popularity", "svd", "ease")
    assert rankers_for("svd", "a ranker of long ago") == ("popularity", "svd")


def test_random_stars_are_folded_by_pair() -> None:
    """A feedback keeps its shape and scale in every fold."""
    feedback = replace(feedback_of(random_ratings(100, 12, 15), 12, 15), scale=(0.5, 5.0))
    assert {(fold.train.shape, fold.train.scale) for fold in folds(feedback, 1)} == {((12, 15), (0.5, 5.0))}
