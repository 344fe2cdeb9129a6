from __future__ import annotations

from math import log

import numpy as np
import pytest

from auto_deployment.release.analysis.drift import BLOCK, MOST_DEVIATIONS, Drift
from auto_deployment.release.analysis.latency import (
    Times,
    edge_pair,
    first_slow_edge,
    slow_counts,
    slower_at_worst,
    slower_on_average,
    slower_than,
    squared_variation,
)
from auto_deployment.release.analysis.sequential import STAKES

EDGES = np.array([0.001, 0.0014, 0.002, 0.003, 0.0042, 0.006, 0.0085, 0.012, 0.017, 0.025, 0.035])
SLOWDOWN = 1.2


def times_of(durations: np.ndarray) -> Times:
    """Durations of shape releases, observations, answers."""
    return Times(
        np.full(durations.shape[:2], float(durations.shape[2])),
        durations.sum(axis=2),
        np.stack([(durations > edge).sum(axis=2).astype(float) for edge in EDGES]),
    )


def drawn(random: np.random.Generator, shape: tuple[int, int, int], factor: object = 1.0) -> Times:
    """Log-normal durations around 3 ms."""
    return times_of(0.003 * np.asarray(factor)[..., np.newaxis] * np.exp(0.6 * random.standard_normal(shape)))


def drift_of(random: np.random.Generator, shape: tuple[int, int], minutes: float) -> np.ndarray:
    """An instance's own factor, a tenth up and down, for some minutes."""
    stays, noise = np.exp(-1 / minutes), random.standard_normal(shape)
    for at in range(1, shape[1]):
        noise[:, at] = stays * noise[:, at - 1] + np.sqrt(1 - stays**2) * noise[:, at]
    return np.asarray(np.exp(0.1 * noise))


@pytest.mark.parametrize("minutes", [1.0, 10.0, 30.0])
def test_instances_that_drift_are_not_slower_on_average(minutes: float) -> None:
    """At the margin itself, each with a tenth of noise of its own for so long: one in 20 may ever reach 20."""
    random = np.random.default_rng(8)
    times = drawn(random, (400, 200, 60), SLOWDOWN * drift_of(random, (400, 200), minutes))
    base = drawn(random, (400, 200, 60), drift_of(random, (400, 200), minutes))
    ever = (slower_on_average(times, base, EDGES, SLOWDOWN, 1.0) >= log(20)).any(axis=1).mean()
    assert ever <= 0.05


def test_half_as_slow_again_is_found_and_sooner_when_five_times() -> None:
    """+50 % within some hours in nearly all, x5 in all within ten observations."""
    random = np.random.default_rng(9)
    base = drawn(random, (100, 360, 60), drift_of(random, (100, 360), 10.0))
    half = drawn(random, (100, 360, 60), 1.5 * drift_of(random, (100, 360), 10.0))
    five = drawn(random, (100, 360, 60), 5.0 * drift_of(random, (100, 360), 10.0))
    assert (slower_on_average(half, base, EDGES, SLOWDOWN, 1.0) >= log(500)).any(axis=1).mean() > 0.5
    assert (slower_on_average(five, base, EDGES, SLOWDOWN, 1.0)[:, :10] >= log(500)).any(axis=1).all()


@pytest.mark.parametrize("minutes", [0.1, 15.0])
def test_much_traffic_does_not_make_noise_a_fault_nor_hide_one(minutes: float) -> None:
    """Where nothing but instances' own noise is left, of a moment or of a quarter of an hour: +50 % is found, +15 % is none."""
    random = np.random.default_rng(14)
    noise = drift_of(random, (200, 480), minutes) / drift_of(random, (200, 480), minutes)
    for factor, least, most in ((1.5, 0.95, 1.0), (1.15, 0.0, 0.01)):
        drift = Drift((200,), SLOWDOWN)
        found = np.zeros(200, dtype=bool)
        for at in range(480):
            means = factor * noise[:, at]
            drift.add(np.stack([np.full(200, 1e5), 1e5 * means, np.full(200, 1e5), np.full(200, 1e5)]), np.ones(200), 1.0)
            found |= drift.evidence() >= log(500)
        assert least <= found.mean() <= most


def test_one_stalled_answer_is_no_slow_service() -> None:
    """A block counts for a few standard deviations, whatever its mean."""
    random = np.random.default_rng(10)
    times, base = drawn(random, (1, 60, 60)), drawn(random, (1, 60, 60))
    times.seconds[0, 30] += 1000.0
    alone = Drift((1,), SLOWDOWN)
    alone.add(np.array([[60.0], [1000.0], [60.0], [0.2]]), np.array([0.4]), 1.0)
    assert alone.evidence()[0] <= max(stake * MOST_DEVIATIONS * 10 for stake in STAKES)
    assert slower_on_average(times, base, EDGES, SLOWDOWN, 1.0).max() < log(100)


def test_a_block_waits_for_enough_answers_of_both_sides() -> None:
    """Before that nothing is learnt; and then as if they had come at once."""
    slowly, at_once = Drift((1,), SLOWDOWN), Drift((1,), SLOWDOWN)
    for _ in range(5):
        assert slowly.evidence()[0] == 0.0
        slowly.add(np.array([[BLOCK / 5], [2.0], [BLOCK], [1.0]]), np.array([1.0]), 1.0)
    at_once.add(np.array([[BLOCK], [10.0], [BLOCK * 5], [5.0]]), np.array([1.0]), 5.0)
    assert slowly.evidence()[0] == pytest.approx(at_once.evidence()[0])
    assert slowly.evidence()[0] > 0


def test_the_fixed_limit_is_found_only_when_it_is_passed() -> None:
    """700 ms against 500 ms soon, 400 ms never, at a few answers a minute."""
    random = np.random.default_rng(11)
    shape = (50, 200, 60)
    slow, fast = (times_of(mean * random.gamma(4.0, 0.25, shape)) for mean in (0.7, 0.4))
    assert (slower_than(slow, EDGES, 0.5, 1.0) >= log(1000)).any(axis=1).mean() > 0.9
    assert not (slower_than(fast, EDGES, 0.5, 1.0) >= log(100)).any()


def test_durations_on_either_side_of_an_edge_are_not_slower_at_worst() -> None:
    """All of one at 2.99 ms and all of the other at 3.01 ms: every bucket differs, and there is no difference."""
    base, times = (times_of(np.full((1, 100, 200), each)) for each in (0.00299, 0.00301))
    assert slower_at_worst(times, base, first_slow_edge(base), EDGES, SLOWDOWN).max() < log(2)
    assert slower_on_average(times, base, EDGES, SLOWDOWN, 1.0).max() < log(2)


def test_a_slow_hundredth_is_found_where_the_mean_hardly_moves() -> None:
    """One answer in a hundred takes five times as long as the slowest did."""
    random = np.random.default_rng(12)
    durations, others = 0.003 * np.exp(0.3 * random.standard_normal((2, 100, 30, 240)))
    base = times_of(others)
    usual = times_of(durations.copy())
    durations[random.random(durations.shape) < 0.01] = 0.03
    worst = slower_at_worst(times_of(durations), base, first_slow_edge(base), EDGES, SLOWDOWN)
    assert (worst >= log(200)).any(axis=1).mean() > 0.9
    assert not (slower_at_worst(usual, base, first_slow_edge(base), EDGES, SLOWDOWN) >= log(100)).any()


def test_the_edges_are_chosen_by_the_looks_before() -> None:
    """The first observation has none; then the lowest edge that at most a hundredth exceeded."""
    durations = np.full((1, 3, 200), 0.0025)
    durations[0, 0, :1] = 0.01
    assert first_slow_edge(times_of(durations)).tolist() == [[-1, 3, 3]]


def test_an_edge_is_compared_with_one_that_is_the_margin_higher() -> None:
    """And with room for drift; beyond the last edge there is no pair."""
    low, high, usable = edge_pair(np.array([0, 3, 9, -1]), 1, EDGES, SLOWDOWN)
    assert low.tolist() == [1, 4, 10, 1]
    assert [EDGES[h] / EDGES[at] >= SLOWDOWN for at, h in zip(low[:2], high[:2], strict=True)] == [True, True]
    assert usable.tolist() == [True, True, False, False]


def test_slow_answers_are_counted_above_each_sides_own_edge() -> None:
    """The candidate's above the higher one. Where the baseline's edges end there is nothing to count."""
    base = times_of(np.concatenate([np.full((1, 2, 198), 0.0025), np.full((1, 2, 2), 0.02)], axis=2))
    times = times_of(np.concatenate([np.full((1, 2, 190), 0.0025), np.full((1, 2, 10), 0.02)], axis=2))
    slow, slow_base = slow_counts(times, base, first_slow_edge(base), EDGES, SLOWDOWN)
    assert (slow.tolist(), slow_base.tolist()) == ([20], [4])
    endless = times_of(np.full((1, 2, 200), 3.0))
    assert slow_counts(endless, endless, first_slow_edge(endless), EDGES, SLOWDOWN)[0].tolist() == [0]


def test_the_variation_of_durations_is_read_from_their_buckets() -> None:
    """Within a third of what the durations themselves have."""
    random = np.random.default_rng(13)
    durations = 0.003 * np.exp(0.6 * random.standard_normal((1, 4, 5000)))
    found = squared_variation(times_of(durations), EDGES)[0, -1]
    assert found == pytest.approx(durations.var() / durations.mean() ** 2, rel=1 / 3)


def test_a_cold_start_is_left_out() -> None:
    """The first observations are empty afterwards, the others as before."""
    times = times_of(np.full((1, 5, 7), 0.004)).since(2)
    assert times.count.tolist() == [[0, 0, 7, 7, 7]]
    assert times.seconds[0, :2].sum() == 0
    assert times.over[:, 0, :2].sum() == 0
    assert times.over[0, 0, 2] == 7
