"""Reads from Prometheus the observations that the evidence does not have yet."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from auto_deployment.common.prometheus import QueryError, UnreachableError
from auto_deployment.release.analysis.evidence import Evidence, MissingData, Sample, with_observation
from auto_deployment.release.analysis.measures import REQUIRED_SOURCES
from auto_deployment.release.analysis.queries import CLIENT, SERVICES, instance_of_name, queries_by, side_of_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auto_deployment.common.prometheus import Series, Source
    from auto_deployment.release.analysis.queries import Labels, Query

    Answers = Sequence[tuple[Query, Sequence[Series] | None]]
    Samples = dict[tuple[str, str], Sample]

log = logging.getLogger(__name__)

# Prometheus gives at most 11,000 values of a series at once.
MAX_OBSERVATIONS = 5_000
# If the next observation is due later than this, the clock was set back.
CLOCK_STEPS = 2


def read_evidence(prometheus: Source, evidence: Evidence, now: float, step: float, labels: Labels = SERVICES) -> Evidence:
    """The evidence with all missing observations up to `now`, `step` seconds apart, also those of an interruption.

    `labels` name the sides of the series, and the pods where a side has any number of them. Where Prometheus gives no data,
    `outage` names the reason, and the next call queries the same times again. A refused query of an advisory source leaves
    only that source's data missing.
    """
    start = evidence.began if evidence.until is None else evidence.until + step
    if start > now:
        return replace(evidence, outage=MissingData.AHEAD) if start - now > CLOCK_STEPS * step else evidence
    count = min(int((now - start) / step), MAX_OBSERVATIONS)
    try:
        answers = [(query, _answer_of(prometheus, query, start, start + count * step, step)) for query in queries_by(labels)]
    except UnreachableError as error:
        log.warning("%s", error)
        return replace(evidence, outage=MissingData.UNREACHABLE)
    except QueryError as error:
        log.warning("%s", error)
        return replace(evidence, outage=MissingData.REFUSED)
    for number in range(count + 1):
        at = round(start + number * step, 3)
        evidence = with_observation(evidence, at, samples_at(answers, at, evidence, labels))
    return evidence


def _answer_of(prometheus: Source, query: Query, start: float, end: float, step: float) -> Sequence[Series] | None:
    """The answer to a query; None if Prometheus refuses the query and only an advisory source needs it."""
    try:
        return prometheus.over(query.text, start, end, step)
    except QueryError as error:
        if query.source in REQUIRED_SOURCES:
            raise
        log.warning("%s", error)
        return None


def samples_at(answers: Answers, at: float, evidence: Evidence, labels: Labels = SERVICES) -> Samples:
    """The sample of each service and source at `at`; for the candidate, only series of the evidence's version.

    With pods, the sample of each pod that has data, and the empty sample of a side where no pod has data.
    """
    services = (evidence.candidate, *evidence.baseline)
    found = {(service, source): Sample({}, {}) for service in services for source in ("service", "mtail", "cadvisor")}
    found[CLIENT, "mtail"] = Sample({}, {})
    if labels.instance is not None:
        found |= {(name, source): Sample({}, {}) for name, _, source in (known.rpartition(" ") for known in evidence.counters)}
    for query, series in answers:
        if series is None:
            refused = [name for name in found if name[1] == query.source]
            found |= {name: replace(found[name], refused=True) for name in refused}
        for each in series or ():
            if at in each.values and not _is_of_another_version(each.labels, evidence, labels):
                for name in _owners(each.labels, query, found, labels):
                    sample = found.setdefault(name, Sample({}, {}))
                    values = sample.counters if query.kind == "counter" else sample.gauges
                    values[query.key.format(**each.labels)] = each.values[at]
    return found if labels.instance is None else _of_pods(found, evidence.candidate)


def _owners(labels: Mapping[str, str], query: Query, found: Samples, by: Labels) -> list[tuple[str, str]]:
    """The samples to which a series belongs. The `up` of a shared source belongs to every sample of that source."""
    if query.key == "up" and by.instance is not None:
        return [name for name in found if name[1] == query.source and instance_of_name(name[0]) == labels.get(by.instance)]
    if query.key == "up" and by.side not in labels:
        return [name for name in found if name[1] == query.source]
    name = by.name_of(labels)
    return [(name, query.source)] if (side_of_name(name), query.source) in found else []


def _is_of_another_version(labels: Mapping[str, str], evidence: Evidence, by: Labels) -> bool:
    return labels.get(by.side) == evidence.candidate and labels.get("version", evidence.version) != evidence.version


def _of_pods(found: Samples, candidate: str) -> Samples:
    """The samples of the pods with data, of the candidate's pods that should have data, and of each side without a pod.

    A pod without a sample has ended. A baseline's pod that is not scraped is no loss while others have data. Memory counts
    for the pods that are scraped themselves.
    """
    pods = {name: sample for name, sample in found.items() if instance_of_name(name[0]) is not None}
    there = {name for name, sample in pods.items() if sample.missing is None}
    there -= {(pod, source) for pod, source in there if source == "cadvisor" and (pod, "service") not in there}
    of_candidate = {name for name in pods if side_of_name(name[0]) == candidate}
    lost = {name for name in of_candidate if pods[name].missing not in {None, MissingData.EMPTY}}
    known = there | lost
    sides = {(side_of_name(pod), source) for pod, source in known}
    return {name: sample for name, sample in found.items() if name in known or (name not in pods and name not in sides)}
