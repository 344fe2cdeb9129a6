"""The measures of a canary, as a table (MEASURES), and how each row is read."""

from __future__ import annotations

from dataclasses import replace
from math import exp, isfinite
from statistics import median
from typing import TYPE_CHECKING

from auto_deployment.release.analysis import promql, watched_measure
from auto_deployment.release.analysis.comparison import CHANCE, FALSE_ALARMS, needed
from auto_deployment.release.analysis.crashes import crashes
from auto_deployment.release.analysis.look_arrays import gauge_of
from auto_deployment.release.analysis.queries import CLIENT
from auto_deployment.release.analysis.readings import Measure, Outcome, Reading

if TYPE_CHECKING:
    from auto_deployment.release.analysis.bake_view import Bake

# Twice a baseline's memory through so many looks in a row is a leak, or another service.
MEMORY_RATIO = 2.0
MEMORY_LOOKS = 10


def read(measure: Measure, bake: Bake) -> Reading:
    """A measure's reading; where its source has a gap it says which, unless it has been found worse before."""
    query = measure.query(bake) if bake.looks else ""
    return replace(_read(measure, bake), query=query, required=measure.is_required(bake.limits))


def _read(measure: Measure, bake: Bake) -> Reading:
    everybody = (bake.evidence.candidate, *bake.evidence.baseline)
    gap = bake.gap(measure.source, *((CLIENT,) if measure.of_clients else everybody))
    found = measure.read(measure, bake)
    if gap is None or found.outcome == Outcome.WORSE:
        return found
    return measure.reading(Outcome.NO_DATA, f"{measure.name}: no figures, {gap}", found.value, sample=found.sample)


def _tested(measure: Measure, bake: Bake) -> Reading:
    """A measure that chance is judged of: worse when the evidence ever reached what is needed."""
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
    said = _said(measure.name, bake, value, threshold)
    if outcome == Outcome.WITHIN and not _keeps(measure.name, value, threshold):
        said += f"; chance explains it (p = {chance:.2g})"
    odds, least = exp(min(log_odds, 700.0)), 1 / FALSE_ALARMS[measure.name]
    return measure.reading(outcome, said, value, threshold=threshold, sample=sample, evidence=odds, needed=least)


def _keeps(name: str, value: float, threshold: float) -> bool:
    return value < threshold if name == "mean" else value <= threshold


SENTENCES = {
    "mean": "mean {ms:.4g} ms, limit {limit_ms:g} ms",
    "slowdown": "mean {value:.3g} times that of {baseline}, limit {threshold:g}",
    "slow answers": "{value:.3%} of answers above {edge_ms:g} ms, limit {threshold:.3%} by {baseline}",
    "errors": (
        "success per try {success:.3%} ({failures:.0f} of {tries:.0f} failed), "
        "{points:+.3g} points of errors compared with {baseline}, limit {limit_points:g} points"
    ),
}


def _said(name: str, bake: Bake, value: float, threshold: float) -> str:
    """A sentence of SENTENCES with its figures."""
    tries, failures = float(bake.side.tries.sum()), float(bake.side.failures.sum())
    return SENTENCES[name].format(
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
    """What clients saw of all services together.

    The tries are reported too, because retries hide an unhealthy canary from clients.
    """
    answers = {
        status: sum(look.services.get(CLIENT, {}).get(f"answer {status}", 0.0) for look in bake.looks)
        for status in ("2xx", "3xx", "4xx", "5xx")
    }
    count = sum(answers.values())
    share = 1 - answers["5xx"] / count if count else None
    said = f"clients: {answers['5xx']:.0f} of {count:.0f} answers failed" if count else "clients: no answer was counted"
    return measure.reading(Outcome.TOLD, said, share, sample=int(count))


def _restarts(measure: Measure, bake: Bake) -> Reading:
    """Any restart of its own is a crash: nobody restarts a canary in its bake."""
    return _crashes(measure, bake, "restarts", "restarts")


def _exits(measure: Measure, bake: Bake) -> Reading:
    """A worker that ended by itself or was killed. Its master starts another one and continues, so no restart shows it."""
    return _crashes(measure, bake, "exits", "workers died")


def _crashes(measure: Measure, bake: Bake, key: str, what: str) -> Reading:
    """What counts as a crash where it was not everybody's; the last look's is not known to be its own yet."""
    seen = gauge_of(bake.looks, bake.evidence.candidate, key)
    if not seen:
        return measure.reading(Outcome.TOO_FEW, f"{measure.name}: no sample yet", threshold=0.0)
    own, *others = bake.risen_by_service(key)
    count = float(crashes(own, others).sum())
    outcome = Outcome.WORSE if count else Outcome.ABOVE if own[-1] else Outcome.WITHIN
    said = f"{count:.0f} {what}, limit 0" + (f": {own[-1]:.0f} more, whose the next look tells" if own[-1] else "")
    return measure.reading(outcome, said, count, threshold=0.0, sample=len(seen))


def _memory(measure: Measure, bake: Bake) -> Reading:
    """Above the threshold in each of the last looks."""
    own = gauge_of(bake.looks, bake.evidence.candidate, "memory")[-MEMORY_LOOKS:]
    others = [gauge_of(bake.looks, name, "memory")[-MEMORY_LOOKS:] for name in bake.evidence.baseline]
    usual = max((median(each) for each in others if each), default=None)
    if not own or not usual:
        return measure.reading(Outcome.TOO_FEW, "memory: no sample yet")
    threshold = MEMORY_RATIO * usual
    value = min(own)
    worse = len(own) == MEMORY_LOOKS and value > threshold
    said = f"memory {own[-1] / 2**20:.0f} MiB, limit {threshold / 2**20:.0f} MiB in each of {MEMORY_LOOKS} looks"
    outcome = Outcome.WORSE if worse else Outcome.WITHIN
    return measure.reading(outcome, said, own[-1], threshold=threshold, sample=len(own))


def _watched(measure: Measure, bake: Bake) -> Reading:
    """What telemetry knows of those who watched."""
    return watched_measure.read(measure, bake.evidence.watched, bake.limits)


# A measure with a setting is advisory: it can fail a canary, but holds one up while it is not known only where its setting is
# `require`. All others are required.
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
