"""`bench verdict`: the verdict on simulated releases, compared with two other rules on the same data.

The known rule: the mean over the canary's whole life is below 500 ms, asked once, at the bake's end. The fixed threshold, as
other controllers have it (Flagger: `interval: 1m`, `threshold: 5`, success of 99 %): each minute by itself, and aborted at the
fifth bad one; a minute is bad with fewer than 99 % successes or a mean above 1.2 times the stable services'. A kinder one,
which ours is held against: aborted only at five bad minutes in a row.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.release.analysis.aa_test import Rate, wilson_rate
from auto_deployment.release.analysis.comparison import CHANCE, Limits, Side, compare, estimate, needed
from auto_deployment.release.analysis.crashes import crashes
from auto_deployment.release.analysis.latency import Times
from tests.bench.measure import Row
from tests.bench.releases import EDGES, FAULTS, HEALTHY, MINUTES, SERVICES, simulate

if TYPE_CHECKING:
    import numpy.typing as npt

    from tests.bench.releases import Fault, Service

    Floats = npt.NDArray[np.float64]

RELEASES = int(os.environ.get("BENCH_RELEASES", "1000"))
# Each batch has a distribution of durations of its own.
BATCH = 50
RATES = (0.2, 2.0, 20.0)
# About 2,600 answers of a canary in a bake: few of them are slow or fail, and chance moves each share.
FEW = 0.06
MOST_HELD_UP = 0.01
LIMITS = Limits()
BAD_MINUTES = 5
LEAST_SUCCESS = 0.99
PROMISE = 0.01
MINUTES_TO_FIND = 10.0
CRASH_MINUTES = 3.0
SURE = {"mean x5", "p99 x5", "errors 5 %", "errors 20 %", "crash every hour"}
SOON = {"mean x5", "p99 x5", "errors 5 %", "errors 20 %"}
LIKELY = {"mean +50 %", "errors 1 %"}


@dataclass(frozen=True)
class Found:
    """Of each release: the minute in which a rule aborted it, infinity where it did not.

    `held`: ours would not pass it at the bake's end; `plainly_held`: nor would ours without regard to chance.
    """

    ours: Floats
    known: Floats
    fixed: Floats
    in_a_row: Floats
    held: npt.NDArray[np.bool_]
    plainly_held: npt.NDArray[np.bool_]

    def rates(self) -> dict[str, Rate]:
        """How many each rule aborted."""
        results = {"ours": self.ours, "known": self.known, "fixed": self.fixed, "in a row": self.in_a_row}
        return {name: wilson_rate(int(np.isfinite(minutes).sum()), len(minutes)) for name, minutes in results.items()}


def run() -> list[Row]:
    """Healthy releases and eight faults at four rates of canary requests."""
    rows = []
    for number, rate in enumerate((*RATES, FEW)):
        for case, (name, fault) in enumerate({"healthy": HEALTHY, **FAULTS}.items()):
            found = judge_many(fault, rate, RELEASES, [case, number])
            sys.stdout.write(f"{table_line(rate, name, found)}\n")
            sys.stdout.flush()
            rows += rows_of(rate, name, found)
    return rows


def judge_many(fault: Fault, rate: float, releases: int, seed: list[int]) -> Found:
    """What three rules say of `releases` of one kind."""
    parts = []
    for batch in range(-(-releases // BATCH)):
        random = np.random.default_rng([*seed, batch])
        parts.append(judge(simulate(fault, rate, min(BATCH, releases - batch * BATCH), random)))
    return Found(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("ours", "known", "fixed", "in_a_row", "held", "plainly_held")
        )
    )


def judge(services: dict[str, Service]) -> Found:
    """What three rules say of a batch. Crashes count from the first one on."""
    canary, base = side_of(services["canary"]), side_of(services["stable-1"], services["stable-2"])
    restarts, *others = (services[name].restarts for name in SERVICES)
    odds = compare(canary, base, EDGES, LIMITS)
    worse = np.any([minutes >= needed(name) for name, minutes in odds.items()], axis=0) | (crashes(restarts, others) > 0)
    start = np.where(restarts.any(axis=-1), restarts.argmax(axis=-1), 0)
    stands = estimate(canary, base, EDGES, LIMITS)
    above = {name: (each.value > each.threshold) | (each.count < LIMITS.min_requests) for name, each in stands.items()}
    surely = [above[name] & ((each.chance < CHANCE) | (each.count < LIMITS.min_requests)) for name, each in stands.items()]
    found = first(worse)
    held, plainly_held = (np.any(each, axis=0) & np.isinf(found) for each in (surely, list(above.values())))
    mean = canary.times.seconds.sum(axis=-1) / canary.times.count.sum(axis=-1)
    known = np.where(mean < LIMITS.max_mean, np.inf, float(MINUTES))
    bad = bad_minutes(canary, base)
    fixed, in_a_row = first(np.cumsum(bad, axis=-1) >= BAD_MINUTES), first(consecutive(bad) >= BAD_MINUTES)
    return Found(found - start, known, fixed - start, in_a_row - start, held, plainly_held)


def side_of(*services: Service) -> Side:
    """What services counted together."""
    count, seconds, over, tries, failures = (
        np.sum([getattr(each, name) for each in services], axis=0)
        for name in ("answers", "seconds", "over", "tries", "failures")
    )
    return Side(Times(count, seconds, over), tries, failures)


def bad_minutes(canary: Side, base: Side) -> npt.NDArray[np.bool_]:
    """Whether each minute is bad, judged by itself."""
    with np.errstate(divide="ignore", invalid="ignore"):
        failing = canary.failures / canary.tries > 1 - LEAST_SUCCESS
        ratio = (canary.times.seconds / canary.times.count) / (base.times.seconds / base.times.count)
    return np.asarray(failing | (ratio > LIMITS.max_slowdown))


def consecutive(bad: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How many minutes in a row have been bad at each."""
    total = np.cumsum(bad, axis=-1)
    return total - np.maximum.accumulate(np.where(bad, 0, total), axis=-1)


def first(happened: npt.NDArray[np.bool_]) -> Floats:
    """The number of minutes until it did first; infinity where it never did."""
    return np.where(happened.any(axis=-1), happened.argmax(axis=-1) + 1.0, np.inf)


def table_line(rate: float, name: str, found: Found) -> str:
    """The three rules' rates with their intervals, as a person reads them."""
    rates = found.rates()
    median = np.median(found.ours)
    return (
        f"  {rate:>4g}/s {name:17} aborted: ours {rates['ours']!s:28} median {median:5.4g} min"
        f"   known rule {rates['known']!s:26} fixed threshold {rates['fixed']!s:28} in a row {rates['in a row']!s:28}"
        f" held up at 12 h {found.held.sum()}, without regard to chance {found.plainly_held.sum()}"
    )


def rows_of(rate: float, name: str, found: Found) -> list[Row]:
    """A case's rows: aborted healthy ones (five bad minutes in a row), missed faults (the known rule), and time."""
    rates, count = found.rates(), len(found.ours)
    label = f"{rate:g}/s {name}"
    ours = rates["ours"]
    if name == "healthy":
        other = max(rates["in a row"].hits, 1) / count
        return [_row(f"{label}: aborted", ours.hits / count, other, ours, PROMISE / other), _held_row(label, rate, found)]
    missed, known = (count - ours.hits) / count, (count - min(rates["known"].hits, count - 1)) / count
    allowed = 0.01 if name in SURE else 0.05 if name in LIKELY and rate >= 2.0 else None
    results = [_row(f"{label}: missed", missed, known, ours, None if allowed is None or rate == FEW else allowed / known)]
    limit = CRASH_MINUTES if name == "crash every hour" else MINUTES_TO_FIND
    goal = 1.0 if name == "crash every hour" or (name in SOON and rate == 2.0) else None
    times = found.ours[np.isfinite(found.ours)]
    if len(times):
        value, width = (
            (np.max if name == "crash every hour" else np.median)(times),
            np.subtract(*np.quantile(times, [0.75, 0.25])),
        )
        statistic = "longest" if name == "crash every hour" else "median"
        results.append(
            Row(
                "verdict",
                f"{label}: {statistic} time",
                float(value),
                limit,
                float(value) / limit,
                float(width) / limit,
                "lower",
                goal,
                "min",
            )
        )
    return [*results, _passed_row(label, found)] if name in SURE else results


def _held_row(label: str, rate: float, found: Found) -> Row:
    """Healthy ones that are held up when the bake should end, as without regard to chance."""
    held, plainly = (wilson_rate(int(each.sum()), len(each)) for each in (found.held, found.plainly_held))
    other = max(plainly.hits, 1) / plainly.count
    goal = MOST_HELD_UP / other if rate >= FEW else None
    return _row(f"{label}: held up at the bake's end", held.hits / held.count, other, held, goal)


def _passed_row(label: str, found: Found) -> Row:
    """Faulty ones that pass when the bake should end, as with the known rule."""
    passed = wilson_rate(int((np.isinf(found.ours) & ~found.held).sum()), len(found.ours))
    known = max(int(np.isinf(found.known).sum()), 1) / passed.count
    return _row(f"{label}: promoted", passed.hits / passed.count, known, passed, 0.01 / known)


def _row(measure: str, ours: float, baseline: float, interval: Rate, goal: float | None) -> Row:
    spread = (interval.high - interval.low) / baseline
    return Row("verdict", measure, ours, baseline, ours / baseline, spread, "lower", goal)
