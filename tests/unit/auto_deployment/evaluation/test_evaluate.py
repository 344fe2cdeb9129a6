from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_deployment.evaluation import evaluate as evaluate_module
from auto_deployment.evaluation.evaluate import (
    CUTS,
    FEWEST_RATINGS,
    RANKING_CUT,
    SHUFFLES,
    compare_rankers,
    count_steps,
    evaluate,
    evaluate_rankers,
    rmse,
    shuffled,
    time_splits,
)
from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.metrics import MOST_USERS, some_of
from auto_deployment.ranking.offline_evaluation import metrics_of
from auto_deployment.ranking.ranker import NONE
from auto_deployment.training.dataset import Ratings
from auto_deployment.training.rating_model import Factors
from auto_deployment.training.surprise_svd import SurpriseSVD
from tests.unit.auto_deployment.samples import SCALE, dataset_of, random_ratings, ratings_of

if TYPE_CHECKING:
    from auto_deployment.training.dataset import Dataset

USERS, FILMS = 14, 12


class ConstantTrainer:
    """Predicts the mean of its training for everything, and remembers what it was given."""

    name = "constant"

    def __init__(self) -> None:
        self.trained: list[Ratings] = []
        self.seeds: list[int] = []

    def fit(self, ratings: Ratings, shape: tuple[int, int], scale: tuple[float, float], seed: int) -> Factors:
        """Keeps the ratings."""
        self.trained.append(ratings)
        self.seeds.append(seed)
        sizes = (shape[0],), (shape[1],), (shape[0], 1), (shape[1], 1)
        return Factors(float(ratings.stars.mean()), scale, *(np.zeros(size, dtype=np.float32) for size in sizes))


@pytest.fixture(scope="module")
def data() -> Dataset:
    """120 ratings, the films of the last users unrated by others."""
    return dataset_of(random_ratings(120, USERS, FILMS), USERS, FILMS)


def pairs(ratings: Ratings) -> list[tuple[int, int]]:
    """Users and films, row by row."""
    return list(zip(ratings.user.tolist(), ratings.film.tolist(), strict=True))


@given(rows=st.integers(FEWEST_RATINGS, 300), moments=st.integers(1, 300))
def test_no_test_row_is_earlier_than_a_training_row(rows: int, moments: int) -> None:
    """Each cut trains on what was before it and tests on the tenth that follows, the last one to the end."""
    none = np.zeros(rows, dtype=np.int32)
    ratings = Ratings(none, none, np.arange(rows, dtype=np.float32), np.arange(rows, dtype=np.int64) * moments // rows)
    splits = time_splits(ratings)
    assert len(splits) == len(CUTS) == 5
    for (train, test), cut in zip(splits, CUTS, strict=True):
        assert train.time.max() <= test.time.min()
        assert train.stars.tolist() == list(range(int(rows * cut)))
        assert test.stars.tolist() == list(range(len(train), len(train) + len(test)))
        assert abs(len(test) - rows / 10) <= 1.5
    assert splits[-1].test.stars[-1] == rows - 1


def test_rmse_is_the_root_of_the_mean_square() -> None:
    """A hand-computed case, and none without a row."""
    predicted, actual = np.array([1, 2, 5], dtype=np.float32), np.array([2, 4, 5], dtype=np.float32)
    assert rmse(predicted, actual) == pytest.approx(math.sqrt(5 / 3))
    assert rmse(predicted[:0], actual[:0]) is None


def test_errors_are_of_all_known_and_new_users(data: Dataset) -> None:
    """Known is who had a rating before the cut; each split's errors are those of its rows."""
    trainer = ConstantTrainer()
    result = evaluate(data, trainer, SCALE, 0, lambda: None).evaluation
    for at, (train, test) in enumerate(time_splits(data.ratings)):
        known = [user in set(train.user.tolist()) for user in test.user.tolist()]
        squares = (test.stars.astype(float) - float(train.stars.mean())) ** 2
        assert result.model.all[at] == pytest.approx(math.sqrt(squares.mean()))
        assert result.model.known[at] == pytest.approx(math.sqrt(squares[np.array(known)].mean()))
        assert (result.test_rows[at], result.known_rows[at]) == (len(test), sum(known))
    assert result.rows == 120


def test_of_a_large_table_a_sample_of_the_users_is_evaluated(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all their ratings; every metric names users by their rows in the sample."""
    whole = evaluate(data, ConstantTrainer(), SCALE, 0, lambda: None)
    assert whole.evaluation.sampled_users is None
    assert whole.held_out.users.tolist() == data.users.tolist()
    monkeypatch.setattr(evaluate_module, "EVALUATED_ROWS", 60)
    evaluation, _, held_out = evaluate(data, ConstantTrainer(), SCALE, 0, lambda: None)
    assert evaluation.sampled_users == len(held_out.users) == USERS // 2
    assert set(held_out.users.tolist()) < set(data.users.tolist())
    assert evaluation.rows == int(np.isin(data.users[data.ratings.user], held_out.users).sum())
    assert held_out.errors.user.max() < len(held_out.users) == len(held_out.films)


def test_a_split_without_new_users_has_no_error_of_them() -> None:
    """None, not nought: there is nothing to take a mean of. Who is new to a cut is result apart."""
    rated = [(user, film, float(1 + (user + film) % 5)) for film in range(6) for user in range(10)]
    result = evaluate(dataset_of(rated, 10, 6), ConstantTrainer(), SCALE, 0, lambda: None).evaluation
    assert result.model.unknown == (None,) * 5
    newcomers = [(user, 0, float(1 + user % 5)) for user in range(60)]
    result = evaluate(dataset_of(newcomers, 60, 1), ConstantTrainer(), SCALE, 0, lambda: None).evaluation
    assert result.model.known == (None,) * 5
    assert result.known_rows == (0,) * 5
    assert result.model.unknown == result.model.all
    assert result.absent_users == 12


def test_every_training_sees_only_what_was_before_its_cut(data: Dataset) -> None:
    """The model and each shuffle of it train on the rows before the cut, the shuffles with each other's stars.

    The last three trainings are for ranking: two to choose, inside the training part, and one of all of it.
    """
    trainer = ConstantTrainer()
    evaluate(data, trainer, SCALE, 5, lambda: None)
    splits = time_splits(data.ratings)
    assert len(trainer.trained) == len(splits) * (1 + SHUFFLES) + 3
    assert set(trainer.seeds) == {5}
    for (train, _), given_rows in zip(splits, trainer.trained, strict=False):
        assert pairs(given_rows) == pairs(train)
        assert given_rows.stars.tolist() == train.stars.tolist()
    for (train, _), given_rows in zip(splits * SHUFFLES, trainer.trained[len(splits) : -3], strict=True):
        assert pairs(given_rows) == pairs(train)
        assert given_rows.stars.tolist() != train.stars.tolist()
        assert sorted(given_rows.stars.tolist()) == sorted(train.stars.tolist())
    orders = {tuple(rows.stars.tolist()) for rows in trainer.trained[len(splits) : -3]}
    assert len(orders) == len(splits) * SHUFFLES


def test_shuffling_keeps_pairs_and_permutes_stars(data: Dataset) -> None:
    """The same seed the same order, another seed another; the original stays as it was."""
    before = data.ratings.stars.copy()
    first, again, other = (shuffled(data.ratings, seed) for seed in (1, 1, 2))
    assert first.stars.tolist() == again.stars.tolist()
    assert first.stars.tolist() != other.stars.tolist()
    assert sorted(first.stars.tolist()) == sorted(before.tolist())
    assert pairs(first) == pairs(data.ratings)
    assert first.time.tolist() == data.ratings.time.tolist()
    assert data.ratings.stars.tolist() == before.tolist()


def test_each_training_is_a_step(data: Dataset) -> None:
    """A bar that was promised so many steps is full at the end."""
    steps: list[None] = []
    evaluate(data, ConstantTrainer(), SCALE, 0, lambda: steps.append(None))
    assert len(steps) == count_steps()


def test_a_rival_is_scored_on_the_same_rows(data: Dataset) -> None:
    """With its own seed, its errors apart; its trainings are steps too. Without one there are none."""
    rival, steps = ConstantTrainer(), list[None]()
    result = evaluate(data, SurpriseSVD(), SCALE, 1, lambda: steps.append(None), (rival, 9)).evaluation
    assert len(steps) == count_steps(champion=True) == count_steps() + 5
    assert [pairs(rows) for rows in rival.trained] == [pairs(train) for train, _ in time_splits(data.ratings)]
    assert set(rival.seeds) == {9}
    assert result.champion == evaluate(data, ConstantTrainer(), SCALE, 1, lambda: None).evaluation.model
    assert evaluate(data, ConstantTrainer(), SCALE, 1, lambda: None).evaluation.champion is None


def test_the_same_data_and_seed_give_the_same_figures(data: Dataset) -> None:
    """All of them, to the last bit; with another seed the model's are others."""
    first, again, other = (evaluate(data, SurpriseSVD(), SCALE, seed, lambda: None).evaluation for seed in (0, 0, 1))
    assert first == again
    assert first.model != other.model
    assert first.bias == other.bias


def test_what_films_explain_is_better_than_shuffled() -> None:
    """On ratings that a film's quality explains the model and the biases beat the model on shuffled ones on each split."""
    result = evaluate(dataset_of(random_ratings(300, 30, 20), 30, 20), SurpriseSVD(), SCALE, 0, lambda: None).evaluation
    for at, noise in enumerate(zip(*result.shuffled, strict=True)):
        assert result.model.all[at] < min(noise)
        assert result.bias.all[at] < min(noise)


def lists_of(*rows: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    """Rows of 20 films, the rest empty."""
    return np.array([(row + [NONE] * 20)[:20] for row in rows], dtype=np.int32)


def wanted(*likes: tuple[int, int]) -> Ratings:
    """Relevant test films, as pairs (user, film)."""
    return ratings_of([(user, film, 5.0) for user, film in likes])


def test_ndcg_and_recall_of_a_single_user() -> None:
    """Hits at the first and the third place of three relevant films, one of which is not in the list."""
    result = metrics_of(np.array([4], dtype=np.int32), lists_of([7, 8, 9]), wanted((4, 7), (4, 9), (4, 1)), 10)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert result.ndcg_at_10 == pytest.approx((1 + 1 / math.log2(4)) / ideal)
    assert result.recall_at_20 == pytest.approx(2 / 3)
    assert result.coverage_at_20 == pytest.approx(3 / 10)
    assert (result.error, result.users) == (0.0, 1)


def test_the_ideal_is_over_ten_films_at_most() -> None:
    """Ten hits of fifteen relevant films are a perfect NDCG@10; Recall@20 is over all fifteen."""
    likes = wanted(*((0, film) for film in range(15)))
    result = metrics_of(np.array([0], dtype=np.int32), lists_of(list(range(10))), likes, 20)
    assert result.ndcg_at_10 == pytest.approx(1.0)
    assert result.recall_at_20 == pytest.approx(10 / 15)


def test_ndcg_looks_at_ten_places_and_recall_at_twenty() -> None:
    """A hit at the eleventh place is one for the recall alone."""
    result = metrics_of(np.array([0], dtype=np.int32), lists_of(list(range(20))), wanted((0, 10), (0, 19)), 20)
    assert (result.ndcg_at_10, result.recall_at_20) == (0.0, 1.0)


def test_means_are_over_users_with_a_relevant_film() -> None:
    """Who liked nothing in the test is not counted, nor who is not asked about; what they are shown still is shown."""
    users = np.array([2, 3, 5], dtype=np.int32)
    result = metrics_of(users, lists_of([0, 1], [1, 2], [9]), wanted((2, 0), (3, 7), (8, 0)), 10)
    assert result.users == 2
    assert (result.ndcg_at_10, result.recall_at_20) == (0.5, 0.5)
    assert result.error == pytest.approx(0.5)
    assert result.coverage_at_20 == pytest.approx(4 / 10)


def test_nobody_with_a_relevant_film_is_no_figure() -> None:
    """Noughts and no users, without a warning."""
    result = metrics_of(np.array([0], dtype=np.int32), lists_of([0]), wanted(), 4)
    assert (result.ndcg_at_10, result.error, result.recall_at_20, result.users) == (0.0, 0.0, 0.0, 0)
    assert result.coverage_at_20 == 0.25


def test_rankers_are_judged_on_one_cut_in_time() -> None:
    """Popularity of the training part, its films left out; only likes of the test are relevant, by the table's scale."""
    before = [(user, film, 5.0) for user in range(8) for film in range(5)]
    after = [(user, 5, 4.0 if user < 4 else 3.0) for user in range(8)] + [(8, 5, 5.0), (9, 5, 5.0)]
    measured = evaluate_rankers(Feedback.of(dataset_of(before + after, 10, 6), SCALE), SurpriseSVD(), 0, lambda: None)
    result = measured.metrics
    assert result["popularity"].users == result["svd"].users == 4
    assert result["popularity"].ndcg_at_10 == result["popularity"].recall_at_20 == 1.0
    assert result["popularity"].coverage_at_20 == pytest.approx(1 / 6)
    assert measured.absent_users == 2
    of_ten = Feedback.of(dataset_of(before + after, 10, 6), (1.0, 10.0))
    result = evaluate_rankers(of_ten, SurpriseSVD(), 0, lambda: None).metrics
    assert result["popularity"].users == 0


def test_each_training_has_only_the_latest_films_before_its_cut(data: Dataset) -> None:
    """As the final training of a large table has them. The test rows are the same, and users stay known."""
    trainer = ConstantTrainer()
    whole = evaluate(data, ConstantTrainer(), SCALE, 0, lambda: None).evaluation
    cut = evaluate(data, trainer, SCALE, 0, lambda: None, latest=2).evaluation
    assert (cut.test_rows, cut.known_rows, cut.absent_users) == (whole.test_rows, whole.known_rows, whole.absent_users)
    for split, trained in zip(time_splits(data.ratings), trainer.trained, strict=False):
        before = pairs(split.train)
        latest = [pair for at, pair in enumerate(before) if sum(user == pair[0] for user, _ in before[at + 1 :]) < 2]
        assert pairs(trained) == latest


def test_later_ratings_cannot_influence_the_choice() -> None:
    """Whatever comes after the cut, turned round here: the ranker and its tuning are the same, the figures are others."""
    rated = random_ratings(600, 40, 30)
    cut = int(len(rated) * RANKING_CUT)
    turned = rated[:cut] + [(user, film, 6 - stars) for user, film, stars in rated[cut:]]
    one, other = (
        evaluate_rankers(Feedback.of(data, SCALE), ConstantTrainer(), 0, lambda: None, ("popularity", "ease"))
        for data in (dataset_of(rated, 40, 30), dataset_of(turned, 40, 30))
    )
    assert one.choice == other.choice
    assert one.metrics != other.metrics


def test_a_ranker_is_held_against_the_one_in_service() -> None:
    """User by user on the later ratings, by what rankers are chosen by; the same one, or one that is unknown, is not."""
    result = evaluate(
        dataset_of(random_ratings(600, 40, 30), 40, 30), ConstantTrainer(), SCALE, 0, lambda: None, None, ("popularity", "svd")
    )
    found, back = (
        compare_rankers(result.held_out, "svd", "popularity", 0),
        compare_rankers(result.held_out, "popularity", "svd", 0),
    )
    assert found is not None
    assert back is not None
    means = {name: float(each.quality.mean()) for name, each in result.held_out.per_user.items()}
    assert (found.quality, found.above) == pytest.approx((means["popularity"], means["svd"] - means["popularity"]))
    assert found.low < found.above < found.high
    assert back.above == pytest.approx(-found.above)
    assert compare_rankers(result.held_out, "svd", "svd", 0) is None
    assert compare_rankers(result.held_out, "svd", "blend", 0) is None


def test_no_more_than_all_films_can_be_shown() -> None:
    """Films that nobody rated before the cut can be in a list: the coverage is a share of all films, never above one."""
    rated = random_ratings(60, 10, 12)
    result = evaluate_rankers(Feedback.of(dataset_of(rated, 10, 400), SCALE), SurpriseSVD(), 0, lambda: None).metrics
    assert all(0 < figures.coverage_at_20 <= 1 for figures in result.values())


def test_at_any_size_so_many_users_are_enough() -> None:
    """All of a few; of many the most that are taken, each once, from the first to the last."""
    few, many = np.arange(7, dtype=np.int32), np.arange(50_001, dtype=np.int32)
    assert some_of(few).tolist() == few.tolist()
    taken = some_of(many)
    assert len(set(taken.tolist())) == len(taken) == MOST_USERS
    assert (taken[0], taken[-1]) == (0, 50_000)


def test_an_evaluation_is_plain_data(data: Dataset) -> None:
    """For the metadata: every figure by its name."""
    result = evaluate(data, ConstantTrainer(), SCALE, 0, lambda: None).evaluation
    plain = result.model_dump()
    assert plain["model"] == {"all": result.model.all, "known": result.model.known, "unknown": result.model.unknown}
    assert plain["ranking"] == {
        name: {
            "ndcg_at_10": figures.ndcg_at_10,
            "error": figures.error,
            "recall_at_20": figures.recall_at_20,
            "coverage_at_20": figures.coverage_at_20,
            "users": figures.users,
        }
        for name, figures in result.ranking.items()
    }
