"""The measures of a canary, as a table (MEASURES), and how each row is read."""

from __future__ import annotations

from dataclasses import replace
from math import exp, isfinite
from statistics import median
from typing import TYPE_CHECKING

from auto_deployment.release.analysis import promql, watched_measure
from auto_deployment.release.analysis.comparison import CHANCE, FALSE_ALARMS, needed
from auto_deployment.release.analysis.crashes import crashes
from auto_deployment.release.analysis.observation_arrays import gauge_of, summed_increases
from auto_deployment.release.analysis.queries import CLIENT
from auto_deployment.release.analysis.readings import Measure, Outcome, Reading

if TYPE_CHECKING:
    from auto_deployment.release.analysis.bake_view import Bake

# Twice a baseline's memory through so many observations in a row is a leak, or another service.
MEMORY_RATIO = 2.0
MEMORY_OBSERVATIONS = 10


def read(measure: Measure, bake: Bake) -> Reading:
    """A measure's reading. Where its source has no data the reading says why, unless the measure was found worse before."""
    query = measure.query(bake) if bake.observations else ""
    return replace(_read(measure, bake), query=query, required=measure.is_required(bake.limits))


def _read(measure: Measure, bake: Bake) -> Reading:
    everybody = (bake.evidence.candidate, *bake.evidence.baseline)
    missing = bake.missing(measure.source, *((CLIENT,) if measure.of_clients else everybody))
    found = measure.read(measure, bake)
    if missing is None or found.outcome == Outcome.WORSE:
        return found
    return measure.reading(Outcome.NO_DATA, f"{measure.name}: no metrics, {missing}", found.value, sample=found.sample)


def _tested(measure: Measure, bake: Bake) -> Reading:
    """A measure with a statistical test. Its outcome is WORSE once the evidence has ever reached the needed value."""
    if measure.name not in bake.now:
        return measure.reading(Outcome.TOO_FEW, f"{measure.name}: nothing was counted yet")
    value, threshold, sample, chance = bake.now[measure.name]
    if not isfinite(value):
        return measure.reading(Outcome.TOO_FEW, f"{measure.name}: nothing was counted yet", sample=sample)
    log_odds = float(bake.odds[measure.name].max(initial=0.0))
    if log_odds >= needed(measure.name):
        outcome = Outcome.WORSE
    elif sample < bake.limits.min_requests:
        outcome = Outcome.TOO_FEW
    else:
        outcome = Outcome.WITHIN if _keeps(measure.name, value, threshold) or chance >= CHANCE else Outcome.ABOVE
    message = _message(measure.name, bake, value, threshold)
    if outcome == Outcome.WITHIN and not _keeps(measure.name, value, threshold):
        message += f"; chance explains it (p = {chance:.2g})"
    odds, least = exp(min(log_odds, 700.0)), 1 / FALSE_ALARMS[measure.name]
    return measure.reading(outcome, message, value, threshold=threshold, sample=sample, evidence=odds, needed=least)


def _keeps(name: str, value: float, threshold: float) -> bool:
    return value < threshold if name == "mean" else value <= threshold


MESSAGES = {
    "mean": "mean {ms:.4g} ms, limit {limit_ms:g} ms",
    "slowdown": "mean {value:.3g} times that of {baseline}, limit {threshold:g}",
    "slow answers": "{value:.3%} of answers above {edge_ms:g} ms, limit {threshold:.3%} by {baseline}",
    "errors": (
        "success per try {success:.3%} ({failures:.0f} of {tries:.0f} failed), "
        "{points:+.3g} points of errors compared with {baseline}, limit {limit_points:g} points"
    ),
}


def _message(name: str, bake: Bake, value: float, threshold: float) -> str:
    """A sentence of MESSAGES with its values."""
    tries, failures = float(bake.side.tries.sum()), float(bake.side.failures.sum())
    return MESSAGES[name].format(
        value=value,
        threshold=threshold,
        ms=1000 * value,
        limit_ms=1000 * threshold,
        edge_ms=1000 * bake.slow_edge,
        points=100 * value,
        limit_points=100 * threshold,
        tries=tries,
        failures=failures,
        success=1 - failures / max(tries, 1.0),
        baseline=" and ".join(bake.evidence.baseline),
    )


def _client(measure: Measure, bake: Bake) -> Reading:
    """What clients got from all services together.

    The tries are reported too, because retries hide an unhealthy canary from clients.
    """
    answers = {
        status: float(summed_increases(bake.observations, (CLIENT,), f"answer {status}").sum())
        for status in ("2xx", "3xx", "4xx", "5xx")
    }
    count = sum(answers.values())
    share = 1 - answers["5xx"] / count if count else None
    message = f"clients: {answers['5xx']:.0f} of {count:.0f} answers failed" if count else "clients: no answer was counted"
    return measure.reading(Outcome.REPORTED, message, share, sample=int(count))


def _restarts(measure: Measure, bake: Bake) -> Reading:
    """Any restart of the canary alone is a crash: nobody restarts a canary during its bake."""
    return _crashes(measure, bake, "restarts", "restarts")


def _exits(measure: Measure, bake: Bake) -> Reading:
    """Workers that ended by themselves or were killed. Their master starts others and continues, so no restart shows them."""
    return _crashes(measure, bake, "exits", "workers died")


def _crashes(measure: Measure, bake: Bake, key: str, what: str) -> Reading:
    """Count the crashes of the candidate alone. The last observation cannot tell yet whether other services crashed too."""
    values = gauge_of(bake.observations, bake.evidence.candidate, key)
    if not values:
        return measure.reading(Outcome.TOO_FEW, f"{measure.name}: no sample yet", threshold=0.0)
    own, *others = bake.increases_by_service(key)
    count = float(crashes(own, others).sum())
    outcome = Outcome.WORSE if count else Outcome.ABOVE if own[-1] else Outcome.WITHIN
    message = f"{count:.0f} {what}, limit 0" + (f": {own[-1]:.0f} more, the next observation shows whose" if own[-1] else "")
    return measure.reading(outcome, message, count, threshold=0.0, sample=len(values))


def _memory(measure: Measure, bake: Bake) -> Reading:
    """Worse if the memory was above the threshold in each of the last observations."""
    own = gauge_of(bake.observations, bake.evidence.candidate, "memory")[-MEMORY_OBSERVATIONS:]
    others = [gauge_of(bake.observations, name, "memory")[-MEMORY_OBSERVATIONS:] for name in bake.evidence.baseline]
    usual = max((median(each) for each in others if each), default=None)
    if not own or not usual:
        return measure.reading(Outcome.TOO_FEW, "memory: no sample yet")
    threshold = MEMORY_RATIO * usual
    value = min(own)
    worse = len(own) == MEMORY_OBSERVATIONS and value > threshold
    message = f"memory {own[-1] / 2**20:.0f} MiB, limit {threshold / 2**20:.0f} MiB in each of {MEMORY_OBSERVATIONS} checks"
    outcome = Outcome.WORSE if worse else Outcome.WITHIN
    return measure.reading(outcome, message, own[-1], threshold=threshold, sample=len(own))


def _watched(measure: Measure, bake: Bake) -> Reading:
    """What telemetry counted of the users who watched."""
    return watched_measure.read(measure, bake.evidence.watched, bake.limits)


# A measure with a setting is advisory unless the setting is `require`. An advisory measure can fail a canary, but its absence
# does not delay one. A measure without a setting is required.
MEASURES = (
    Measure("mean", "s", "service", _tested, promql.mean),
    Measure("slowdown", "ratio", "service", _tested, promql.slowdown),
    Measure("slow answers", "share", "service", _tested, promql.slow_answers),
    Measure("errors", "share", "mtail", _tested, promql.errors),
    Measure("client", "share", "mtail", _client, promql.client, of_clients=True),
    Measure("restarts", "restarts", "service", _restarts, promql.restarts),
    Measure("worker exits", "exits", "service", _exits, promql.exits),
    Measure("memory", "bytes", "cadvisor", _memory, promql.memory, setting="memory"),
    Measure(watched_measure.NAME, "ratio", "telemetry", _watched, watched_measure.query, setting="watched"),
)
REQUIRED_SOURCES = frozenset(measure.source for measure in MEASURES if measure.setting is None)
