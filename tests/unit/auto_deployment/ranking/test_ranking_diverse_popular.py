"""The list for users of whom nothing is known: popular, and not the same taste again and again."""

from __future__ import annotations

import numpy as np

from auto_deployment.ranking.diverse_popular import POOL, diverse_popular
from auto_deployment.ranking.feedback import Feedback
from tests.unit.auto_deployment.samples import SCALE, dataset_of

FANS, OTHERS = 60, 40


def feedback() -> Feedback:
    """Sixty users who saw films 0, 1 and 2, and forty who saw 3 and 4; nobody saw 5."""
    rows = [(user, film, 5.0) for user in range(FANS) for film in (0, 1, 2)]
    rows += [(user, film, 5.0) for user in range(FANS, FANS + OTHERS) for film in (3, 4)]
    return Feedback.of(dataset_of(rows, FANS + OTHERS, 6), SCALE)


def test_who_has_a_film_already_counts_for_less() -> None:
    """The third film of the many is behind the first of the few, though more people saw it; then the tastes take turns."""
    scores = np.array([60.0, 59.0, 58.0, 40.0, 39.0, 0.0])
    assert diverse_popular(scores, feedback(), 6).tolist() == [0, 1, 3, 2, 4, 5]


def test_without_anybody_in_common_the_order_is_that_of_popularity() -> None:
    """Each film has seen its own user: there is nothing to spread."""
    apart = Feedback.of(dataset_of([(film, film, 5.0) for film in range(6)], 6, 6), SCALE)
    assert diverse_popular(np.array([1.0, 6.0, 2.0, 5.0, 3.0, 4.0]), apart, 4).tolist() == [1, 3, 5, 4]


def test_watching_is_seeing_too() -> None:
    """Users who watched a film and rated another have seen both; who did both with one film has seen it once."""
    watched = [(user, 1) for user in range(FANS)] + [(0, 0)]
    both = Feedback.of(dataset_of([(user, 0, 5.0) for user in range(FANS)], FANS + 1, 3, watched), SCALE)
    assert diverse_popular(np.array([60.0, 59.0, 50.0]), both, 3).tolist() == [0, 2, 1]


def test_a_list_is_as_long_as_there_are_films_and_only_popular_ones_come_in() -> None:
    """Few films: all of them. Many: none beyond the pool, each once."""
    assert sorted(diverse_popular(np.zeros(6), feedback(), 40).tolist()) == list(range(6))
    many = Feedback.of(dataset_of([(0, 0, 5.0)], 1, 1_000), SCALE)
    found = diverse_popular(np.arange(1_000.0), many, 40)
    assert (len(set(found.tolist())), int(found.min()) >= 1_000 - POOL) == (40, True)
