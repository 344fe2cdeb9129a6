from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from auto_deployment.evaluation.gate import decide
from auto_deployment.ingestion.collect_with_progress import summary_lines
from auto_deployment.ingestion.rows import Counts
from auto_deployment.ranking.offline_evaluation import RankingMetrics
from auto_deployment.reports import console
from tests.unit.auto_deployment.samples import SCALE, dataset_of, evaluation, of_all


def test_the_lines_are_reported_by_what_became_of_them() -> None:
    """Kinds, then the repaired and the quarantined, these by reason."""
    counts = Counts(12_345, Counter(watch=12_000, rating=340), 2, Counter(film=3, user=2))
    assert summary_lines(counts) == [
        "12,345 lines: watch 12,000, rating 340",
        "2 of them repaired, the originals kept",
        "5 quarantined: film 3, user 2",
    ]


def test_what_did_not_happen_is_not_reported() -> None:
    """Nothing repaired, nothing quarantined, nothing at all."""
    assert summary_lines(Counts(3, Counter(rating=3))) == ["3 lines: rating 3"]
    assert summary_lines(Counts()) == ["0 lines: nothing taken"]


def test_the_tables_are_reported_in_numbers() -> None:
    """Users, films, ratings and watched films; look-alikes with an example where there are some."""
    data = dataset_of([(0, 0, 5.0), (1, 1, 4.0)], 1_200, 3, [(0, 2)])
    assert console.data(data) == ["1,200 users, 3 films, 2 ratings, 1 films watched"]
    assert console.data(replace(data, look_alikes=("aa+1999", "bb+1999")))[1:] == [
        "2 damaged look-alikes left out, such as aa+1999"
    ]


def test_every_metric_is_printed_with_its_baseline() -> None:
    """The error with its spread and whose it is, biases and shuffled ratings, both rankers."""
    found = evaluation()
    assert console.metrics(found, decide(found, 1.0, SCALE)) == [
        "RMSE 0.710 \u00b1 0.016 over 5 cuts in time, users known at the cut",
        "  all 0.810, known users 0.710, new users 0.910; bias alone 0.820, shuffled ratings 1.015",
        "ranked by popularity: NDCG@10 0.200 \u00b1 0.010, Recall@20 0.300, 10.0% of the films shown, 50 users",
        "ranked by svd: NDCG@10 0.100 \u00b1 0.020, Recall@20 0.200, 40.0% of the films shown, 50 users",
        "the SVD predicts ratings; ranking by them is worse than popularity here",
    ]


def test_what_there_is_no_row_of_is_reported_as_none() -> None:
    """No known and no new user in any split."""
    found = evaluation(model=of_all(0.8, 0.8, 0.8, 0.8, 0.8), known_rows=(0,) * 5)
    assert "known users none, new users none" in console.metrics(found, decide(found, 1.0, SCALE))[1]


@pytest.mark.parametrize(("ndcg", "words"), [(0.3, "better than"), (0.2, "no better than"), (0.1, "worse than")])
def test_the_two_rankings_are_compared_in_words(ndcg: float, words: str) -> None:
    """By NDCG@10."""
    ranking = {"popularity": RankingMetrics(0.2, 0.0, 0.0, 0.0, 9), "svd": RankingMetrics(ndcg, 0.0, 0.0, 0.0, 9)}
    found = evaluation(ranking=ranking)
    last = console.metrics(found, decide(found, 1.0, SCALE))[-1]
    assert last == f"the SVD predicts ratings; ranking by them is {words} popularity here"
