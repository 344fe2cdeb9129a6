from __future__ import annotations

from math import comb

import numpy as np
import pytest

from auto_deployment.common.settings import load_settings
from auto_deployment.release.analysis.comparison import (
    FALSE_ALARMS,
    SETTLE_OBSERVATIONS,
    WATCHED_FALSE_ALARMS,
    Limits,
    as_often,
    compare,
    estimate,
    needed,
)
from tests.bench.releases import EDGES, FAULTS, HEALTHY, Service, simulate
from tests.bench.verdict import side_of

RELEASES, MINUTES = 20, 90


def test_all_tests_together_keep_the_promise() -> None:
    """Their shares of false alarms add up to one in 100, and each needs the odds of its own share."""
    assert sum(FALSE_ALARMS.values()) + WATCHED_FALSE_ALARMS == pytest.approx(0.01)
    for name, share in FALSE_ALARMS.items():
        assert np.exp(-needed(name)) == pytest.approx(share)


@pytest.mark.parametrize("fault", ["mean x5", "errors 5 %"])
def test_what_was_known_does_not_change_with_what_comes(fault: str) -> None:
    """The evidence after observation 40 is the same whether there were 40 observations or 90."""
    services = simulate(FAULTS[fault], 2.0, RELEASES, np.random.default_rng(1), MINUTES)
    sides = side_of(services["canary"]), side_of(services["stable-1"], services["stable-2"])
    short = [side_of(*(_first(services[name], 40) for name in names)) for names in (("canary",), ("stable-1", "stable-2"))]
    whole, part = compare(*sides, EDGES, Limits()), compare(short[0], short[1], EDGES, Limits())
    assert set(whole) == set(FALSE_ALARMS)
    for name in whole:
        assert whole[name][:, :40] == pytest.approx(part[name]), name


def _first(service: Service, observations: int) -> Service:
    return Service(*(each[..., :observations] for each in vars(service).values()))


@pytest.mark.parametrize(("fault", "test"), [("mean x5", "slowdown"), ("p99 x5", "slow answers"), ("errors 20 %", "errors")])
def test_each_test_finds_its_fault_and_only_that(fault: str, test: str) -> None:
    """Errors do not look like slowness, nor the other way; the limit of 500 ms is not near."""
    services = simulate(FAULTS[fault], 20.0, RELEASES, np.random.default_rng(2), MINUTES)
    found = compare(side_of(services["canary"]), side_of(services["stable-1"], services["stable-2"]), EDGES, Limits())
    worse = {name for name, odds in found.items() if (odds >= needed(name)).any(axis=1).mean() > 0.9}
    assert worse - {"slow answers"} == {test} - {"slow answers"}
    assert test in worse


def test_a_cold_start_alone_is_not_held_against_a_canary() -> None:
    """Fifty times as slow for its first observations, and as the others from then on: those are not looked at."""
    services = simulate(HEALTHY, 20.0, RELEASES, np.random.default_rng(3), MINUTES)
    canary = services["canary"]
    canary.seconds[:, :SETTLE_OBSERVATIONS] *= 50
    canary.over[:, :, :SETTLE_OBSERVATIONS] = canary.answers[:, :SETTLE_OBSERVATIONS]
    found = compare(side_of(canary), side_of(services["stable-1"], services["stable-2"]), EDGES, Limits())
    for name in ("mean", "slowdown", "slow answers"):
        assert found[name][:, :SETTLE_OBSERVATIONS] == pytest.approx(0.0), name
    assert not any((odds >= needed(name)).any() for name, odds in found.items())


def test_estimates_are_plain_ratios_and_differences() -> None:
    """What a person would compute from the counters: a mean over the whole bake, and the rest beside the baseline."""
    services = simulate(FAULTS["mean +50 %"], 20.0, RELEASES, np.random.default_rng(4), MINUTES)
    side, base = side_of(services["canary"]), side_of(services["stable-1"], services["stable-2"])
    found = estimate(side, base, EDGES, Limits())
    assert found["mean"].value == pytest.approx(side.times.seconds.sum(axis=1) / side.times.count.sum(axis=1))
    assert found["slowdown"].value == pytest.approx(np.full(RELEASES, 1.5), rel=0.25)
    more = side.failures.sum(axis=1) / side.tries.sum(axis=1) - base.failures.sum(axis=1) / base.tries.sum(axis=1)
    assert found["errors"].value == pytest.approx(more)
    assert [set(np.unique(found[name].threshold)) for name in ("mean", "slowdown", "errors")] == [{0.5}, {1.2}, {0.005}]
    assert (found["slowdown"].count == side.times.count[:, SETTLE_OBSERVATIONS:].sum(axis=1)).all()


def test_without_a_count_there_is_no_number() -> None:
    """Neither 0 nor infinity, for any test."""
    services = simulate(HEALTHY, 0.0, RELEASES, np.random.default_rng(4), MINUTES)
    nothing = side_of(services["canary"])
    found = estimate(nothing, nothing, EDGES, Limits())
    assert all(np.isnan(each.value).all() for each in found.values())


def test_limits_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Milliseconds become seconds; without settings both have the same defaults."""
    assert Limits.of(load_settings(_env_file=None)) == Limits()
    monkeypatch.setenv("CANARY_MAX_MEAN_MS", "250")
    monkeypatch.setenv("CANARY_MIN_REQUESTS", "7")
    monkeypatch.setenv("CANARY_MEMORY", "require")
    found = Limits.of(load_settings(_env_file=None))
    assert (found.max_mean, found.min_requests, found.memory) == (0.25, 7, "require")


def test_chance_is_the_tail_of_a_binomial() -> None:
    """Seven of the canary's and 18 of the baseline's four times as many: each of 25 is the canary's with a fifth."""
    tail = sum(comb(25, count) * 0.2**count * 0.8 ** (25 - count) for count in range(7, 26))
    assert as_often(np.array(7.0), np.array(1921.0), np.array(18.0), np.array(4 * 1921.0)) == pytest.approx(tail)


def test_nothing_is_always_due_to_chance() -> None:
    """No event of its own, or none at all; one where the baseline had none may be chance too, ten may not."""
    base = np.array([0.0, 5.0, 0.0, 0.0])
    found = as_often(np.array([0.0, 0.0, 1.0, 10.0]), np.full(4, 1000.0), base, np.full(4, 4000.0))
    assert found == pytest.approx([1.0, 1.0, 0.2, 0.2**10])
    assert as_often(*np.zeros((4, 1))).tolist() == [1.0]


def test_a_slower_mean_is_less_due_to_chance_the_more_answers_there_are() -> None:
    """A half slower in a few answers may be chance; in many it is not. No chance excuses the fixed limit of the mean."""
    found = []
    for rate in (0.02, 20.0):
        services = simulate(FAULTS["mean +50 %"], rate, RELEASES, np.random.default_rng(5), MINUTES)
        sides = side_of(services["canary"]), side_of(services["stable-1"], services["stable-2"])
        stands = estimate(*sides, EDGES, Limits())
        assert not stands["mean"].chance.any()
        found.append(np.median(stands["slowdown"].chance))
    assert found[0] > 1e-6 > found[1]
