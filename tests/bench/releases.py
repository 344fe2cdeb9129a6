"""Simulated releases, as a scrape a minute would show them: for `bench verdict`. Arrays have the shape releases, minutes.

Nothing here knows the rules that decide. What is drawn per release: the real difference, traffic's phase and bursts, each
instance's own noise and how long it lasts, the cold start. Per batch: the distribution of durations.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, sqrt
from typing import TYPE_CHECKING

import numpy as np

from app.metrics import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Generator = np.random.Generator

EDGES = np.array(SECONDS)
MINUTES = 720
SERVICES = ("canary", "stable-1", "stable-2")
WEIGHTS = np.array([1.0, 2.0, 2.0])
ERRORS = 0.001
INSTANCE_NOISE = 0.1
TAIL_INDEX = 2.2
WORST = 5.0
GRID = np.linspace(np.log(EDGES[0]) - 4.0, np.log(EDGES[-1]) + 4.0, 3201)
BOUNDS = np.concatenate([[EDGES[0] / 3], EDGES, [EDGES[-1] * 2]])
# Within a bucket durations are spread evenly on a log scale.
BUCKET_MEAN = np.diff(BOUNDS) / np.diff(np.log(BOUNDS))
BUCKET_VARIANCE = np.diff(BOUNDS**2) / (2 * np.diff(np.log(BOUNDS))) - BUCKET_MEAN**2


@dataclass(frozen=True)
class Fault:
    """What is wrong with a canary: its times' factor, its slowest hundredth's, its share of failures, a crash each hour."""

    factor: float = 1.0
    worst: float = 1.0
    errors: float = ERRORS
    crashes: bool = False


HEALTHY = Fault()
FAULTS = {
    "mean +20 %": Fault(factor=1.2),
    "mean +50 %": Fault(factor=1.5),
    "mean x5": Fault(factor=5.0),
    "p99 x5": Fault(worst=WORST),
    "errors 1 %": Fault(errors=0.01),
    "errors 5 %": Fault(errors=0.05),
    "errors 20 %": Fault(errors=0.2),
    "crash every hour": Fault(crashes=True),
}


@dataclass(frozen=True)
class Service:
    """What one service counted in each minute; `over`: answers slower than each edge, shape edges, releases, minutes."""

    tries: Floats
    failures: Floats
    answers: Floats
    seconds: Floats
    over: Floats
    restarts: Floats


def simulate(fault: Fault, rate: float, releases: int, random: Generator, minutes: int = MINUTES) -> dict[str, Service]:
    """Releases at `rate` canary requests a second on average: 2, 2 and 1 of five go to the services."""
    shape = (releases, minutes)
    traffic, load = _traffic(random, shape)
    failing = ERRORS * _blips(random, shape)
    survival = _distribution(random)
    found = {}
    for name, weight in zip(SERVICES, WEIGHTS, strict=True):
        own = fault if name == "canary" else HEALTHY
        scale = load * _own_noise(random, shape)
        crashed = np.zeros(shape)
        if name == "canary":
            scale = scale * _cold(random, shape) * _difference(random, releases, fault)
            crashed = _crashes(random, shape) if fault.crashes else crashed
        share = np.clip(failing * random.gamma(10.0, 0.1, shape) + (own.errors - ERRORS) + 0.2 * crashed, 0.0, 1.0)
        counted = random.poisson(60 * rate * weight * traffic)
        failures = random.binomial(counted, share)
        found[name] = _service(random, counted, failures, np.log(scale), _worsened(survival, own.worst), crashed)
    return found


def _service(
    random: Generator,
    tries: npt.NDArray[np.int64],
    failures: npt.NDArray[np.int64],
    log_scale: Floats,
    survival: Callable[[Floats], Floats],
    restarts: Floats,
) -> Service:
    """Answers into buckets: a Poisson number in each, so that answers are tries less failures only on average."""
    expected, table = tries - failures, survival(GRID)
    above = np.stack([np.interp(np.log(edge) - log_scale, GRID, table) for edge in EDGES])
    shares = -np.diff(np.concatenate([np.ones((1, *tries.shape)), above, np.zeros((1, *tries.shape))]), axis=0)
    buckets = random.poisson(np.maximum(shares, 0.0) * expected).astype(np.float64)
    seconds = np.tensordot(BUCKET_MEAN, buckets, axes=1)
    seconds += np.sqrt(np.tensordot(BUCKET_VARIANCE, buckets, axes=1)) * random.standard_normal(tries.shape)
    over = np.cumsum(buckets[:0:-1], axis=0)[::-1]
    answers = buckets.sum(axis=0)
    seconds = np.maximum(seconds, answers * BOUNDS[0])
    return Service(tries.astype(np.float64), failures.astype(np.float64), answers, seconds, over, restarts)


def _distribution(random: Generator) -> Callable[[Floats], Floats]:
    """Share of durations above exp(x) seconds: a log-normal body, and a hundredth with a Pareto tail."""
    middle, spread = np.log(random.uniform(0.002, 0.02)), random.uniform(0.4, 0.8)
    start = middle + np.log(4.0)

    def survival(x: Floats) -> Floats:
        tail = np.minimum(1.0, np.exp(-TAIL_INDEX * (x - start)))
        body = np.array([erfc(each) / 2 for each in (x - middle) / spread / sqrt(2)])
        return np.asarray(0.99 * body + 0.01 * tail)

    return survival


def _worsened(survival: Callable[[Floats], Floats], worst: float) -> Callable[[Floats], Floats]:
    """The slowest hundredth takes `worst` times as long."""
    if worst == 1.0:
        return survival
    return lambda x: np.where(survival(x) > 0.01, survival(x), np.minimum(0.01, survival(x - np.log(worst))))


def _traffic(random: Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Traffic as a factor, and what it does to every service's times: a daily cycle, and bursts that slow everything down."""
    minute = np.arange(shape[1])
    cycle = np.sin(2 * np.pi * (minute / 1440 + random.random((shape[0], 1))))
    burst = np.zeros(shape)
    for _ in range(3):
        start, length = random.integers(0, shape[1], (shape[0], 1)), random.integers(3, 15, (shape[0], 1))
        burst += (minute >= start) & (minute < start + length)
    busy = np.minimum(burst, 1.0)
    return np.asarray((1 + 0.5 * cycle) * (1 + 2 * busy)), np.asarray((1 + 0.1 * cycle) * (1 + 0.4 * busy))


def _blips(random: Generator, shape: tuple[int, int]) -> Floats:
    """A few minutes in which every service fails ten times as often."""
    minute, start = np.arange(shape[1]), random.integers(0, shape[1], (shape[0], 1))
    return np.asarray(1 + 9.0 * ((minute >= start) & (minute < start + 4)))


def _own_noise(random: Generator, shape: tuple[int, int], lasts: tuple[float, float] = (1.0, 60.0)) -> Floats:
    """An instance's own factor: a tenth up and down, correlated over 1 to 60 minutes (a release's own number of them)."""
    stays = np.exp(-1 / np.exp(random.uniform(np.log(lasts[0]), np.log(lasts[1]), shape[0])))
    noise = np.empty(shape)
    noise[:, 0] = random.standard_normal(shape[0])
    shocks = random.standard_normal(shape)
    for at in range(1, shape[1]):
        noise[:, at] = stays * noise[:, at - 1] + np.sqrt(1 - stays**2) * shocks[:, at]
    return np.asarray(np.exp(INSTANCE_NOISE * noise))


def _cold(random: Generator, shape: tuple[int, int]) -> Floats:
    """The first minutes of a new process: up to four times as slow, wearing off with a time constant of 0.5 to 1.5 minutes."""
    slow, lasts = random.uniform(0.5, 3.0, (shape[0], 1)), random.uniform(0.5, 1.5, (shape[0], 1))
    return 1 + slow * np.exp(-np.arange(shape[1]) / lasts)


def _difference(random: Generator, releases: int, fault: Fault) -> Floats:
    """The canary's real factor: its fault's, or up to 5 % where that is none."""
    real = 0.05 * random.random((releases, 1)) if fault == HEALTHY else np.zeros((releases, 1))
    return np.asarray(fault.factor * (1 + real))


def _crashes(random: Generator, shape: tuple[int, int]) -> Floats:
    """One restart an hour, at the same minute of each."""
    return np.asarray(np.arange(shape[1]) % 60 == random.integers(0, 60, (shape[0], 1)), dtype=np.float64)
