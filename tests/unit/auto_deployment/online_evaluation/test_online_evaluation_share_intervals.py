from __future__ import annotations

import numpy as np
import pytest

from auto_deployment.common.intervals import wilson
from auto_deployment.online_evaluation.share_intervals import RatioSums, difference_interval, share_interval


def ratio_sums(answers: np.ndarray, counted: np.ndarray) -> RatioSums:
    """The sums over users."""
    n, h = answers.astype(float), counted.astype(float)
    return RatioSums(len(n), n.sum(), h.sum(), (n * n).sum(), (n * h).sum(), (h * h).sum())


def users_of(rng: np.random.Generator, users: int, share_of_users: float) -> tuple[np.ndarray, np.ndarray]:
    """Users with 1 to 20 answers each, who differ: some watch nearly all of what they get, most nearly nothing."""
    answers = rng.integers(1, 21, users)
    return answers, rng.binomial(answers, rng.beta(0.5 * share_of_users, 0.5 * (1 - share_of_users), users))


def test_with_one_answer_each_it_is_wilson_s_interval() -> None:
    """As of independent answers, but for a user in two hundred."""
    found, expected = share_interval(ratio_sums(np.ones(200), np.repeat([1.0, 0.0], [30, 170]))), wilson(0.15, 200)
    assert found is not None
    assert found.value == 0.15
    assert found.low == pytest.approx(expected[0], abs=1e-3)
    assert found.high == pytest.approx(expected[1], abs=1e-3)


def test_answers_of_few_users_say_little() -> None:
    """A thousand answers of ten users, half of whom watch all: no narrower than ten answers would be."""
    found = share_interval(ratio_sums(np.full(10, 100), np.repeat([100, 0], 5)))
    assert found is not None
    assert found.high - found.low > 0.4


@pytest.mark.parametrize("expected", [0.02, 0.3])
def test_the_interval_holds_the_truth_in_95_of_100_samples(expected: float) -> None:
    """Of users who differ as much as they can: counted over 400 samples, where independent answers would miss a third."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        found = share_interval(ratio_sums(*users_of(rng, 600, expected)))
        assert found is not None
        held += found.low <= expected <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_the_difference_s_interval_holds_the_truth_in_95_of_100_samples() -> None:
    """Of two lists for the same answers."""
    rng, held = np.random.default_rng(4), 0
    for _ in range(400):
        answers, own = users_of(rng, 600, 0.3)
        found = difference_interval(ratio_sums(answers, own - rng.binomial(answers, 0.2)))
        assert found is not None
        held += found.low <= 0.1 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_where_nothing_was_watched_the_interval_says_how_much_it_may_be() -> None:
    """By users, not by answers; of a single user nothing is known; of none there is no share."""
    found = share_interval(ratio_sums(np.full(100, 50), np.zeros(100)))
    assert found is not None
    assert (found.value, found.low) == (0.0, 0.0)
    for users in range(2, 500):
        none = share_interval(ratio_sums(np.full(users, 3), np.zeros(users)))
        every = share_interval(ratio_sums(np.full(users, 3), np.full(users, 3)))
        assert none is not None
        assert every is not None
        assert (none.low, every.high) == (0.0, 1.0)
    assert found.high == pytest.approx(wilson(0.0, 100)[1])
    alone = share_interval(ratio_sums(np.array([50]), np.array([20])))
    assert alone is not None
    assert (alone.low, alone.high) == (0.0, 1.0)
    assert share_interval(RatioSums(0, 0, 0, 0, 0, 0)) is None
    assert difference_interval(ratio_sums(np.array([50]), np.array([20]))) is None
