from __future__ import annotations

import numpy as np
import pytest

from tests.bench.releases import (
    EDGES,
    ERRORS,
    FAULTS,
    HEALTHY,
    INSTANCE_NOISE,
    SERVICES,
    Service,
    _own_noise,
    _worsened,
    simulate,
)

RELEASES, MINUTES, RATE = 40, 720, 2.0


@pytest.fixture(scope="module")
def healthy() -> dict[str, Service]:
    """Healthy releases of twelve hours."""
    return simulate(HEALTHY, RATE, RELEASES, np.random.default_rng(1))


def mean(service: Service) -> float:
    """Of all releases' answers."""
    return float(service.seconds.sum() / service.answers.sum())


def test_requests_come_at_the_rate_and_in_the_shares_that_were_asked_for(healthy: dict[str, Service]) -> None:
    """One fifth to the canary, two to each stable service; more by day than by night."""
    per_second = {name: service.tries.mean() / 60 for name, service in healthy.items()}
    assert tuple(healthy) == SERVICES
    assert per_second["canary"] == pytest.approx(RATE, rel=0.2)
    assert per_second["stable-1"] / per_second["canary"] == pytest.approx(2, rel=0.02)
    assert per_second["stable-2"] / per_second["canary"] == pytest.approx(2, rel=0.02)
    hours = healthy["stable-1"].tries.reshape(RELEASES, 12, 60).mean(axis=2)
    assert (hours.max(axis=1) / hours.min(axis=1)).min() > 1.3


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_counts_fits_together(healthy: dict[str, Service], name: str) -> None:
    """Whole numbers; as many answers as tries succeeded, nearly; fewer above each higher edge; sums that the buckets allow."""
    service = healthy[name]
    for counted in (service.tries, service.failures, service.answers, service.over, service.restarts):
        assert (counted >= 0).all()
        assert (counted == np.round(counted)).all()
    assert service.answers.sum() == pytest.approx((service.tries - service.failures).sum(), rel=0.01)
    assert (np.diff(service.over, axis=0) <= 0).all()
    assert (service.over <= service.answers).all()
    least = np.sum(np.diff(np.concatenate([[0.0], EDGES]))[:, np.newaxis, np.newaxis] * service.over, axis=0)
    assert (service.seconds.sum() / least.sum()) == pytest.approx(1.0, abs=0.6)


def test_a_healthy_canary_is_at_most_a_twentieth_slower_once_warm(healthy: dict[str, Service]) -> None:
    """And slower in its first minutes; it fails as often as the others, 0.1 % and more in bad minutes."""
    warm = {name: mean(Service(*(each[..., 10:] for each in vars(service).values()))) for name, service in healthy.items()}
    assert 0.97 < warm["canary"] / warm["stable-1"] < 1.08
    first = {name: service.seconds[:, 0].sum() / service.answers[:, 0].sum() for name, service in healthy.items()}
    assert first["canary"] > 1.4 * first["stable-1"]
    for service in healthy.values():
        assert ERRORS * 0.8 < service.failures.sum() / service.tries.sum() < ERRORS * 1.5


@pytest.mark.parametrize(("name", "factor"), [("mean +20 %", 1.2), ("mean +50 %", 1.5), ("mean x5", 5.0)])
def test_a_slow_canary_is_as_slow_as_it_is_said_to_be(name: str, factor: float) -> None:
    """In the mean over everything; the other services are not."""
    found = simulate(FAULTS[name], RATE, RELEASES, np.random.default_rng(2), 240)
    assert mean(found["canary"]) / mean(found["stable-1"]) == pytest.approx(factor, rel=0.12)


@pytest.mark.parametrize(("name", "share"), [("errors 1 %", 0.01), ("errors 5 %", 0.05), ("errors 20 %", 0.2)])
def test_a_failing_canary_fails_as_often_as_it_is_said_to(name: str, share: float) -> None:
    """Per try; the others keep to theirs."""
    found = simulate(FAULTS[name], RATE, RELEASES, np.random.default_rng(3), 240)
    assert found["canary"].failures.sum() / found["canary"].tries.sum() == pytest.approx(share, rel=0.1)
    assert found["stable-1"].failures.sum() / found["stable-1"].tries.sum() < 2 * ERRORS


def test_the_slowest_hundredth_alone_is_five_times_as_slow() -> None:
    """The 99th percentile itself moves so; all that is faster stays."""
    x = np.linspace(-3, 12, 15_001)
    usual = np.exp(-np.maximum(x, 0.0))
    worse = _worsened(lambda at: np.exp(-np.maximum(at, 0.0)), 5.0)(x)
    assert (worse[usual > 0.01] == usual[usual > 0.01]).all()
    # exp(x) is what takes so long: one in a thousand takes five times what one in a thousand took.
    usual_at, worse_at = (x[np.searchsorted(-each, -0.001)] for each in (usual, worse))
    assert worse_at - usual_at == pytest.approx(np.log(5), abs=0.002)


def test_a_crashing_canary_restarts_once_an_hour() -> None:
    """At its own minute of the hour; nobody else does."""
    found = simulate(FAULTS["crash every hour"], RATE, RELEASES, np.random.default_rng(4))
    assert (found["canary"].restarts.reshape(RELEASES, 12, 60).sum(axis=2) == 1).all()
    assert found["stable-1"].restarts.sum() == found["stable-2"].restarts.sum() == 0


def test_an_instance_s_noise_is_a_tenth_and_lasts() -> None:
    """Correlated over the minutes that were drawn, and no other instance's."""
    random = np.random.default_rng(5)
    noise = np.log(_own_noise(random, (400, MINUTES), (30.0, 30.0)))
    assert noise.std() == pytest.approx(INSTANCE_NOISE, rel=0.05)
    assert np.corrcoef(noise[:, :-30].ravel(), noise[:, 30:].ravel())[0, 1] == pytest.approx(np.exp(-1), abs=0.05)
    other = np.log(_own_noise(random, (400, MINUTES), (30.0, 30.0)))
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.05


def test_a_seed_makes_the_same_releases_again() -> None:
    """And another one others."""
    one, two, other = (simulate(HEALTHY, RATE, 2, np.random.default_rng(seed), 30)["canary"] for seed in (1, 1, 2))
    assert (one.seconds == two.seconds).all()
    assert (one.seconds != other.seconds).any()
