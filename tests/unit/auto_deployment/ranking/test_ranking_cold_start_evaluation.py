from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from auto_deployment.ranking.cold_start_evaluation import HISTORIES, evaluate_cold_start, with_short_histories
from auto_deployment.ranking.metrics import interval
from auto_deployment.ranking.model_selection import Choice
from auto_deployment.ranking.offline_evaluation import measure
from auto_deployment.ranking.ranker_factory import SCORED, Tuning
from auto_deployment.ranking.rating_files import COLUMNS, Task, read_task
from auto_deployment.training.sgd import SgdTrainer
from tests.unit.auto_deployment.ranking.tastes import FILMS, USERS, feedback_of, two_tastes
from tests.unit.auto_deployment.samples import ratings_of

MOVIELENS = Path(__file__).resolve().parents[5] / "shared" / "data" / "ml-100k"


@pytest.fixture(scope="module")
def movielens(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """MovieLens 100K, split `ua`: ten ratings of each user held out."""
    if not MOVIELENS.is_dir():
        pytest.skip("needs MovieLens 100K in ../shared/data")
    paths = []
    for name in ("ua.base", "ua.test"):
        paths.append(tmp_path_factory.mktemp("movielens") / f"{name}.csv")
        with (MOVIELENS / name).open(newline="") as source, paths[-1].open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *csv.reader(source, delimiter="\t")])
    return read_task(*paths)


def test_histories_are_cut_and_the_others_kept() -> None:
    """At most so many ratings of each user that is cut, no watch of theirs; the same seed draws the same."""
    feedback = feedback_of([(user, film, 4.0) for user in range(4) for film in range(6)], 4, 7, [(0, 6, 9), (1, 6, 9)])
    masked = np.array([True, False, True, False])
    left = with_short_histories(feedback, masked, 2, 0)
    assert np.bincount(left.ratings.user).tolist() == [2, 6, 2, 6]
    assert left.watches.user.tolist() == [1]
    assert left.ratings.film.tolist() == with_short_histories(feedback, masked, 2, 0).ratings.film.tolist()
    assert np.bincount(with_short_histories(feedback, masked, 0, 0).ratings.user, minlength=4).tolist() == [0, 6, 0, 6]


def test_one_film_tells_a_taste() -> None:
    """With two tastes a single film is enough to be above popularity; with none the list has something for both."""
    feedback = two_tastes()
    test = ratings_of([(user, film, 5.0) for user in range(2, USERS - 1) for film in range(user % 2, FILMS, 2)])
    tuned = Tuning(ease_ridge=5.0, als_ridge=0.5, popularity_share=0.01, blend_popularity_share=0.01)
    for ranker in SCORED:
        none, one = (
            evaluate_cold_start(feedback, test, Choice(ranker=ranker, tuning=tuned, scores={}, users=0), SgdTrainer(), most, 0)
            for most in (0, 1)
        )
        for ours, popular in (none, one):
            assert ours.users.tolist() == popular.users.tolist()
        assert one[0].ndcg.mean() > one[1].ndcg.mean() + 0.2
        assert none[0].ndcg.min() > 0.1 > none[1].ndcg.min()


@pytest.mark.slow
def test_movielens_is_ranked_well_from_the_first_film_on(movielens: Task) -> None:
    """Every choice inside the training rows; from one film on each step is above popularity by an interval above 0.

    The list for users without a film is not below it.
    """
    measured = measure(movielens.train, movielens.test, SgdTrainer(), 0, lambda: None)
    chosen = measured.metrics[measured.choice.ranker]
    assert chosen.ndcg_at_10 >= 0.325
    assert chosen.recall_at_20 >= 0.46
    for most in HISTORIES:
        ours, popular = evaluate_cold_start(movielens.train, movielens.test, measured.choice, SgdTrainer(), most, 0)
        above = interval(ours.recall - popular.recall, 0)
        assert above is not None
        assert above.low > 0 if most else above.high > 0
