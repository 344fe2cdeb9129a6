"""A reading's value as PromQL for people: pasted into Prometheus at any later time, the query gives the same value. Pure.

Each uses the counters' values at the ends of the bake, as the evidence does. `increase()` extrapolates, and loses the first
sample of a new series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.release.analysis.comparison import SETTLE_OBSERVATIONS
from auto_deployment.release.analysis.crashes import counted_observations
from auto_deployment.release.analysis.evidence import begin_of, spans
from auto_deployment.release.analysis.observation_arrays import gauge_of, instances_of
from auto_deployment.release.analysis.queries import (
    CLIENT,
    ERRORS,
    LEFT,
    MEMORY_OF_PODS,
    MEMORY_OF_STACK,
    PODS,
    RECOMMEND,
    SERVICES,
    instance_of_name,
    side_of_name,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from auto_deployment.release.analysis.bake_view import Bake
    from auto_deployment.release.analysis.evidence import Span

ANSWERS = f'{RECOMMEND}, status="200"'
COUNT, SECONDS, BUCKET = (f"flask_http_request_duration_seconds_{name}" for name in ("count", "sum", "bucket"))
FAILED, TRIED = f'outcome=~"{"|".join(ERRORS)}"', f'outcome!~"{"|".join(sorted(LEFT))}"'
NOTHING = "vector(0)"


# What a counter of each source begins with in the evidence: so its pods are found.
PREFIXES = {"service": "restarts", "mtail": "try ", CLIENT: "answer "}


def mean(bake: Bake) -> str:
    """The sum of the candidate's durations over the number of its answers."""
    return _mean(bake, bake.candidate, 0)


def slowdown(bake: Bake) -> str:
    """The candidate's mean over the baseline's, both without the cold start."""
    own, base = (_mean(bake, services, SETTLE_OBSERVATIONS) for services in (bake.candidate, bake.evidence.baseline))
    return f"({own}) / ({base})"


def slow_answers(bake: Bake) -> str:
    """The share of the candidate's answers above the edge that the reading names."""
    if bake.slow_edge_key is None:
        return NOTHING
    edge = f'{ANSWERS}, le="{bake.slow_edge_key.removeprefix("le ")}"'
    below, count = (
        _risen(bake, metric, labels, bake.candidate, "service", _all(bake)[SETTLE_OBSERVATIONS:])
        for metric, labels in ((BUCKET, edge), (COUNT, ANSWERS))
    )
    return f"1 - {below} / {count}"


def errors(bake: Bake) -> str:
    """The candidate's share of failed tries less the baseline's."""
    return " - ".join(_failed(bake, services) for services in (bake.candidate, bake.evidence.baseline))


def client(bake: Bake) -> str:
    """The share of answers to clients without status 5xx."""
    failed, answers = (
        _risen(bake, "nginx_answers_total", f'job="mtail", status_class=~"{classes}"', (CLIENT,), "mtail", _all(bake))
        for classes in ("5xx", "2xx|3xx|4xx|5xx")
    )
    return f"1 - {failed} / {answers}"


def restarts(bake: Bake) -> str:
    """The number of restarts of the candidate, without restarts of all services."""
    counted = counted_observations(*bake.increases_by_service("restarts"))
    found: list[tuple[float, float, float]] = []
    for number, observation in enumerate(bake.observations):
        since = begin_of(bake.evidence, number)
        step = round(observation.at - since, 3)
        if counted[number] and step > 0:
            joined = found.pop() if found and found[-1][1:] == (since, step) else (since,)
            found.append((joined[0], observation.at, step))
    names = _names(bake, bake.candidate, "service")
    series = [_series("service_start_time_seconds", bake, (name,), "service", 'job="service"') for name in names]
    return " + ".join(_changes(own, *each) for own in series for each in found) or NOTHING


def exits(bake: Bake) -> str:
    """The number of workers that the candidate lost, without observations in which every service lost workers."""
    observations = counted_observations(*bake.increases_by_service("exits"))
    counted = [number for number in _all(bake) if observations[number]]
    return _risen(bake, "service_worker_exits_total", 'job="service"', bake.candidate, "service", counted)


def memory(bake: Bake) -> str:
    """The candidate's memory at the last observation with a value; of several pods the highest."""
    side = bake.evidence.candidate
    at = max((each.at for each in bake.observations if gauge_of((each,), side, "memory")), default=bake.observations[-1].at)
    names = _names(bake, bake.candidate, "service")
    if names == [side]:
        text = MEMORY_OF_STACK.replace('service!=""', f'service="{side}"')
    else:
        own = _series("", bake, names, "service", 'job="service"')
        text = f"max({MEMORY_OF_PODS})".replace('{job="service"}', own)
    return text.replace("}", f"}} @ {at:.15g}")


def _mean(bake: Bake, services: Sequence[str], first: int) -> str:
    return " / ".join(_risen(bake, metric, ANSWERS, services, "service", _all(bake)[first:]) for metric in (SECONDS, COUNT))


def _failed(bake: Bake, services: Sequence[str]) -> str:
    failed, tries = (
        _risen(bake, "nginx_tries_total", f'job="mtail", {outcomes}', services, "mtail", _all(bake))
        for outcomes in (FAILED, TRIED)
    )
    return f"{failed} / {tries}"


def _risen(bake: Bake, metric: str, labels: str, sides: Sequence[str], source: str, numbers: Sequence[int]) -> str:
    """The increase in `sides` in the observations `numbers`. Services or pods with the same spans share one query."""
    by_spans: dict[tuple[Span, ...], list[str]] = {}
    for name in _names(bake, sides, source):
        by_spans.setdefault(spans(bake.evidence, f"{name} {source}", numbers), []).append(name)
    terms = [_rise(_series(metric, bake, names, source, labels), each) for each, names in by_spans.items()]
    return terms[0] if len(terms) == 1 else f"({' + '.join(terms)})"


def _names(bake: Bake, sides: Sequence[str], source: str) -> list[str]:
    """The services, or the pods, whose series of a source count for `sides`."""
    return [
        name for side in sides for name in instances_of(bake.observations, side, PREFIXES[CLIENT if side == CLIENT else source])
    ]


def _series(metric: str, bake: Bake, names: Sequence[str], source: str, labels: str) -> str:
    """A selector of series of services, or of pods of one side; the candidate's with its version if the source has that label.

    Answers to clients have no label of a side.
    """
    side, pods = side_of_name(names[0]), [pod for name in names if (pod := instance_of_name(name)) is not None]
    owner = _equals(PODS.side, [side]) if pods else _equals(SERVICES.side, names)
    version = f'version="{bake.evidence.version}"' if side == bake.evidence.candidate and source == "service" else ""
    selectors = (
        *(labels, "" if side == CLIENT else owner, _equals("pod", pods) if pods else ""),
        version if bake.evidence.version else "",
    )
    return f"{metric}{{{', '.join(filter(None, selectors))}}}"


def _equals(label: str, values: Sequence[str]) -> str:
    return f'{label}{"=" if len(values) == 1 else "=~"}"{"|".join(values)}"'


def _rise(series: str, rose: Collection[Span]) -> str:
    """The sum of the increases of counters over the spans."""
    ends = [(sign, at) for span in rose for sign, at in (("+", span.end), ("-", span.start)) if at is not None]
    text = " ".join(f"{sign} (sum({series} @ {at:.15g}) or vector(0))" for sign, at in ends)
    return f"({text.removeprefix('+ ')})" if text else NOTHING


def _changes(series: str, start: float, end: float, step: float) -> str:
    """How often a gauge changed between observations. A subquery samples at multiples of its step: the offset moves them."""
    every = round(1000 * step)
    late = round(1000 * end) % every
    window = round(1000 * (end - start)) + late + 1
    offset = f" offset -{late}ms" if late else ""
    return f"(sum(changes((max({series}{offset}))[{window}ms:{every}ms] @ {end:.15g})) or vector(0))"


def _all(bake: Bake) -> range:
    return range(len(bake.observations))
