"""Reads from Prometheus the observations that the evidence does not have yet."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from auto_deployment.common.prometheus import QueryError, UnreachableError
from auto_deployment.release.analysis.evidence import Evidence, MissingData, Sample, with_observation
from auto_deployment.release.analysis.measures import REQUIRED_SOURCES
from auto_deployment.release.analysis.queries import CLIENT, SERVICES, instance_of_name, queries_by, side_of_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from auto_deployment.common.prometheus import Series, Source
    from auto_deployment.release.analysis.queries import Labels, Query

    Samples = dict[tuple[str, str], Sample]

log = logging.getLogger(__name__)

# Prometheus gives at most 11,000 values of a series at once.
MAX_OBSERVATIONS = 5_000
# If the next observation is due later than this, the clock was set back.
CLOCK_STEPS = 2


@dataclass(frozen=True)
class Row:
    """A series: its values by time, their key in the evidence, and the name of its service or pod.

    `name` is None for an `up` that counts for every sample of its source; with pods, for those of the same `instance`.
    """

    source: str
    kind: str
    key: str
    values: Mapping[float, float]
    name: str | None
    instance: str | None

    def add_to(self, sample: Sample, at: float) -> None:
        """Put the value at `at` into a sample."""
        (sample.counters if self.kind == "counter" else sample.gauges)[self.key] = self.values[at]


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
    rows = [row for query, series in answers for row in _rows_of(query, series or (), evidence, labels)]
    refused = {query.source for query, series in answers if series is None}
    for number in range(count + 1):
        at = round(start + number * step, 3)
        evidence = with_observation(evidence, at, _samples_at(rows, refused, at, evidence, pods=labels.instance is not None))
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


def _rows_of(query: Query, series: Iterable[Series], evidence: Evidence, by: Labels) -> Iterator[Row]:
    """The series of an answer; of the candidate, only those of the evidence's version.

    With pods, a series that names no pod does not count: where a pod ends, a sum of several pods falls as at a restart.
    """
    for each in series:
        instance, is_up = each.labels.get(by.instance or ""), query.key == "up"
        if _is_of_another_version(each.labels, evidence, by) or (by.instance is not None and not instance):
            continue
        is_shared = is_up and (by.instance is not None or by.side not in each.labels)
        name = None if is_shared else by.name_of(each.labels)
        yield Row(query.source, query.kind, query.key.format(**each.labels), each.values, name, instance)


def _samples_at(rows: Sequence[Row], refused: Collection[str], at: float, evidence: Evidence, *, pods: bool) -> Samples:
    """The sample of each service and source at `at`.

    With pods, the sample of each pod that has data, and the empty sample of a side where no pod has data.
    """
    services = (evidence.candidate, *evidence.baseline)
    expected = [(service, source) for service in services for source in ("service", "mtail", "cadvisor")] + [(CLIENT, "mtail")]
    known = [(name, source) for name, _, source in (each.rpartition(" ") for each in evidence.counters)] if pods else []
    found = {name: Sample({}, {}, refused=name[1] in refused) for name in (*expected, *known)}
    scraped: list[Row] = []
    for row in rows:
        if at not in row.values:
            continue
        if row.name is None:
            scraped.append(row)
        elif (side_of_name(row.name), row.source) in found:
            if (row.name, row.source) not in found:
                found[row.name, row.source] = Sample({}, {})
            row.add_to(found[row.name, row.source], at)
    scraped_for: dict[tuple[str, str | None], list[Sample]] = {}
    for (name, source), sample in found.items():
        scraped_for.setdefault((source, instance_of_name(name) if pods else None), []).append(sample)
    for row in scraped:
        for sample in scraped_for.get((row.source, row.instance if pods else None), ()):
            row.add_to(sample, at)
    return _of_pods(found, evidence.candidate) if pods else found


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
