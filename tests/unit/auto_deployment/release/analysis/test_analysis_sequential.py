from __future__ import annotations

from itertools import product
from math import comb, exp, log

import numpy as np
import pytest

from auto_deployment.release.analysis.sequential import COUNT_STAKES, MAX_PER_OBSERVATION, NOISE, mixed, more_often

INCREASE = 0.005


def binomial(count: int, share: float) -> list[float]:
    """The probability of each number of hits."""
    return [comb(count, hits) * share**hits * (1 - share) ** (count - hits) for hits in range(count + 1)]


def one_look(bad: float, total: float, bad_base: float, total_base: float) -> float:
    """Evidence after a single observation."""
    counts = [np.array([each]) for each in (bad, total, bad_base, total_base)]
    return exp(more_often(counts[0], counts[1], counts[2], counts[3], INCREASE)[0])


@pytest.mark.parametrize("share", [0.0, 0.001, 0.03, 0.3])
@pytest.mark.parametrize(("total", "total_base"), [(4, 16), (12, 6), (30, 30)])
def test_without_a_difference_evidence_is_expected_not_to_grow(share: float, total: int, total_base: int) -> None:
    """Computed exactly: at the margin itself, the mean of the evidence after an observation is at most 1."""
    worse = (1 + NOISE) * share + INCREASE
    weights = product(enumerate(binomial(total, worse)), enumerate(binomial(total_base, share)))
    mean = sum(p * q * one_look(bad, total, bad_base, total_base) for (bad, p), (bad_base, q) in weights)
    assert mean <= 1 + 1e-12


def test_looking_at_every_minute_raises_no_more_false_alarms_than_promised() -> None:
    """2,000 canaries at the margin itself, looked at 300 times each: at most one in 20 ever reaches 20."""
    random = np.random.default_rng(5)
    total, total_base = np.full((2000, 300), 40.0), np.full((2000, 300), 160.0)
    bad_base = random.binomial(160, 0.002, total.shape).astype(float)
    bad = random.binomial(40, (1 + NOISE) * 0.002 + INCREASE, total.shape).astype(float)
    ever = (more_often(bad, total, bad_base, total_base, INCREASE) >= log(20)).any(axis=1).mean()
    assert ever <= 0.05 + 2 * (0.05 * 0.95 / 2000) ** 0.5


def test_errors_that_every_service_has_are_not_the_canary_s() -> None:
    """A share that moves from 0.1 % to 40 % and back for all alike never counts against one of them."""
    random = np.random.default_rng(6)
    share = np.tile(np.concatenate([np.full(50, 0.001), np.full(20, 0.4), np.full(50, 0.001)]), (500, 1))
    bad, bad_base = random.binomial(40, share).astype(float), random.binomial(160, share).astype(float)
    found = more_often(bad, np.full(share.shape, 40.0), bad_base, np.full(share.shape, 160.0), INCREASE)
    assert (found >= log(100)).any(axis=1).mean() <= 0.01


def test_five_times_the_margin_is_found_within_minutes() -> None:
    """3 % of errors where 0.1 % are usual, 120 tries an observation: in nearly all of 200 within 20 observations."""
    random = np.random.default_rng(7)
    total, total_base = np.full((200, 20), 120.0), np.full((200, 20), 480.0)
    bad, bad_base = (
        random.binomial(120, 0.03, total.shape).astype(float),
        random.binomial(480, 0.001, total.shape).astype(float),
    )
    found = more_often(bad, total, bad_base, total_base, INCREASE)
    assert (found >= log(500)).any(axis=1).mean() > 0.95


def test_no_single_look_decides() -> None:
    """Everything failing in one observation counts for no more than the cap."""
    found = more_often(np.array([1e4, 0.0]), np.array([1e4, 10.0]), np.array([0.0, 0.0]), np.array([4e4, 40.0]), INCREASE)
    assert MAX_PER_OBSERVATION - log(len(COUNT_STAKES)) <= found[0] <= MAX_PER_OBSERVATION
    assert found[1] < found[0]


@pytest.mark.parametrize(("total", "total_base"), [(0.0, 100.0), (100.0, 0.0), (0.0, 0.0)])
def test_without_both_sides_nothing_is_learnt(total: float, total_base: float) -> None:
    """An observation in which one side had no tries leaves the evidence as it was."""
    found = more_often(np.array([total]), np.array([total]), np.array([0.0]), np.array([total_base]), INCREASE)
    assert found[0] == pytest.approx(0.0)


def test_a_mixture_is_the_mean_of_what_is_mixed() -> None:
    """Of the processes themselves, not of their logarithms."""
    assert mixed([np.log([1.0, 4.0]), np.log([3.0, 2.0])]) == pytest.approx(np.log([2.0, 3.0]))
