"""Reads from Prometheus the observations that the evidence does not have yet."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from auto_deployment.common.prometheus import QueryError, UnreachableError
from auto_deployment.release.analysis.evidence import Evidence, MissingData, Sample, with_observation
from auto_deployment.release.analysis.measures import REQUIRED_SOURCES
from auto_deployment.release.analysis.queries import CLIENT, QUERIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auto_deployment.common.prometheus import Series, Source
    from auto_deployment.release.analysis.queries import Query

    Answers = Sequence[tuple[Query, Sequence[Series] | None]]

log = logging.getLogger(__name__)

# Prometheus gives at most 11,000 values of a series at once.
MAX_OBSERVATIONS = 5_000
# If the next observation is due later than this, the clock was set back.
CLOCK_STEPS = 2


def read_evidence(prometheus: Source, evidence: Evidence, now: float, step: float) -> Evidence:
    """The evidence with all missing observations up to `now`, `step` seconds apart, also those of an interruption.

    Where Prometheus gives no data, `outage` names the reason, and the next call queries the same times again. A refused query
    of an advisory source leaves only that source's data missing.
    """
    start = evidence.began if evidence.until is None else evidence.until + step
    if start > now:
        return replace(evidence, outage=MissingData.AHEAD) if start - now > CLOCK_STEPS * step else evidence
    count = min(int((now - start) / step), MAX_OBSERVATIONS)
    try:
        answers = [(query, _answer_of(prometheus, query, start, start + count * step, step)) for query in QUERIES]
    except UnreachableError as error:
        log.warning("%s", error)
        return replace(evidence, outage=MissingData.UNREACHABLE)
    except QueryError as error:
        log.warning("%s", error)
        return replace(evidence, outage=MissingData.REFUSED)
    for number in range(count + 1):
        at = round(start + number * step, 3)
        evidence = with_observation(evidence, at, samples_at(answers, at, evidence))
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


def samples_at(answers: Answers, at: float, evidence: Evidence) -> dict[tuple[str, str], Sample]:
    """The sample of each service and source at `at`; for the candidate, only series of the evidence's version."""
    services = (evidence.candidate, *evidence.baseline)
    found = {(service, source): Sample({}, {}) for service in services for source in ("service", "mtail", "cadvisor")}
    found[CLIENT, "mtail"] = Sample({}, {})
    for query, series in answers:
        if series is None:
            refused = [name for name in found if name[1] == query.source]
            found |= {name: replace(found[name], refused=True) for name in refused}
        for each in series or ():
            if at in each.values and not _is_of_another_version(each.labels, evidence):
                for name in _owners(each.labels, query, found):
                    sample = found[name]
                    values = sample.counters if query.kind == "counter" else sample.gauges
                    values[query.key.format(**each.labels)] = each.values[at]
    return found


def _owners(labels: Mapping[str, str], query: Query, found: Mapping[tuple[str, str], Sample]) -> list[tuple[str, str]]:
    """The samples to which a series belongs. The `up` of a shared source belongs to every sample of that source."""
    if query.key == "up" and "service" not in labels:
        return [name for name in found if name[1] == query.source]
    name = (labels.get("service", CLIENT), query.source)
    return [name] if name in found else []


def _is_of_another_version(labels: Mapping[str, str], evidence: Evidence) -> bool:
    return labels.get("service") == evidence.candidate and labels.get("version", evidence.version) != evidence.version
