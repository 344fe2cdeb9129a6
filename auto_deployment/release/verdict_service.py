"""The verdict as a service: a read-only endpoint that reads Prometheus again at each call, and keeps nothing.

It serves a rollout engine whose pods are anonymous. `GET /verdict?version=7&since=2026-11-29T07:00:00Z` answers with status 200
and JSON, see `as_json`. Status 400: a parameter is wrong. Status 503: there is no verdict now, and the version keeps baking.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, inf, isfinite
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, jsonify, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from app.settings import settings_problem
from auto_deployment.common.prometheus import Prometheus, PrometheusError, UnreachableError
from auto_deployment.common.settings import CanarySettings
from auto_deployment.common.time_format import to_iso
from auto_deployment.release.analysis.comparison import Limits
from auto_deployment.release.analysis.evidence import Evidence
from auto_deployment.release.analysis.queries import PODS
from auto_deployment.release.analysis.scrape import read_evidence
from auto_deployment.release.analysis.verdict import Decision, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auto_deployment.common.prometheus import Series, Source
    from auto_deployment.release.analysis.readings import Reading
    from auto_deployment.release.analysis.verdict import Verdict

log = logging.getLogger(__name__)

CANDIDATE, BASELINE = "canary", "stable"
PARAMETERS = frozenset({"version", "since"})
# All queries of one answer together: less than the time-out of Gunicorn in the image, 40 s, and of Argo, 45 s.
SECONDS_AT_MOST = 30.0
# More at once would take more memory, and fewer more queries.
OBSERVATIONS_AT_ONCE = 240
# The clocks of the caller and of this host may differ by so much.
CLOCK_SECONDS = 60.0
# After so long without a pod of a canary, its next pod begins another bake: meanwhile its tries went to stable pods.
AWAY_SECONDS = 60
# So long a pod that is there counts for the last sample that it gave. A container that crashes again and again is started again
# within 300 s, and must then become ready.
SILENT_SECONDS = 900
# So long NGINX may still send tries to the pod of another canary: many clusters' DNS caches an address for 30 s.
DNS_SECONDS = 30
BEGIN_STEP = 15
# Gunicorn's own status for an application that cannot be loaded: the master ends instead of trying again.
APP_LOAD_ERROR = 4

STARTED = 'service_start_time_seconds{job="service"}'
UP = 'up{job="service"}'


class BadParameterError(Exception):
    """A parameter of a request that cannot be used."""


class NoVerdictError(Exception):
    """Nothing can be said now: the version keeps baking."""


class NoBakeError(NoVerdictError):
    """At this time the version has no bake of its own: no canary, or another one a moment ago."""


@dataclass(frozen=True)
class Query:
    """The bake of `version` since a time in seconds since 1970; None: since Prometheus has seen its canary."""

    version: str
    since: float | None = None

    @classmethod
    def of(cls, given: Mapping[str, str], now: float) -> Query:
        """The query of a request's parameters. An empty `since` is none. Raises BadParameterError.

        `version` is the number of a version, or an image whose tag ends with it: `host:5000/movierec-app:model-7`. A digest may
        follow.
        """
        if unknown := sorted(set(given) - PARAMETERS):
            raise BadParameterError(f"unknown parameter {unknown[0][:40]!r}: give version and since")
        version = re.fullmatch(r"(?:[^@\s]*:)?(?:model-)?(\d{1,9})(?:@sha256:[0-9a-f]{64})?", given.get("version", ""))
        if version is None:
            raise BadParameterError(f"version: {given.get('version', '')[:200]!r} is no number, and no image of a version")
        return cls(str(int(version[1])), _seconds(given["since"], now) if given.get("since") else None)


def _seconds(text: str, now: float) -> float:
    """A time, seconds since 1970 or ISO 8601 with its zone. Raises BadParameterError."""
    try:
        if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text):
            found = float(text)
        else:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                raise BadParameterError(f"since: {text[:40]!r} has no time zone: add Z")
            found = (moment - datetime.fromtimestamp(0, UTC)).total_seconds()
    except (ValueError, OverflowError) as error:
        raise BadParameterError(f"since: {text[:40]!r} is neither seconds since 1970 nor ISO 8601") from error
    if not 0 <= found <= now + CLOCK_SECONDS:
        raise BadParameterError(f"since: {text[:40]!r} is later than now, {to_iso(now)}")
    return min(found, now)


class WithinTime:
    """A Prometheus whose queries share `seconds`. A query that comes too late raises UnreachableError."""

    def __init__(self, url: str, seconds: float = SECONDS_AT_MOST) -> None:
        self._url = url
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """As `Prometheus.over`, in the time that is left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise UnreachableError(f"{self._url}: Prometheus did not answer all queries within {self._seconds:g} s")
        # Prometheus takes a time-out in whole seconds.
        return Prometheus(self._url, ceil(left)).over(query, start, end, step)


def begin_queries(version: str, limits: Limits) -> tuple[str, str, str]:
    """PromQL for the first moment with a canary of this version, the last one without it, and the last one with another canary.

    A pod is there as long as Prometheus tries to scrape it, also while its container is down. Without: while others were there
    already. Where Prometheus itself was away, nobody was there, so an outage begins no other bake: the others come later and
    leave sooner. The queries look back further than the longest bake, which would otherwise never end.
    """
    canary = f'{STARTED.removesuffix("}")}, track="{CANDIDATE}", version'
    own, other = f'{canary}="{version}"}}', f'{canary}!="{version}"}}'
    everybody = f"count(present_over_time({STARTED}[{AWAY_SECONDS // 2}s] offset {BEGIN_STEP}s))"
    pods = f"present_over_time({UP}[{AWAY_SECONDS}s])"
    candidate = f"count({pods} and on (pod) present_over_time({own}[{SILENT_SECONDS}s]))"
    others = f"count(present_over_time({other}[{BEGIN_STEP}s]))"
    window = f"[{120 * limits.max_bake_minutes:.0f}s:{BEGIN_STEP}s]"
    return (
        f"min_over_time((vector(time()) and on () {candidate}){window})",
        f"max_over_time((vector(time()) and on () {everybody} unless on () {candidate}){window})",
        f"max_over_time((vector(time()) and on () {others}){window})",
    )


def begin_of_bake(prometheus: Source, version: str, limits: Limits, now: float) -> float:
    """When the bake of this version began, in seconds since 1970.

    Tries have a track and no version, so a bake begins only when no other canary can get any. Raises PrometheusError, and
    NoBakeError where no such canary is there, or another one was just now.
    """
    queries = begin_queries(version, limits)
    first, without, others = (
        [value for each in prometheus.over(query, now, now, BEGIN_STEP) for value in each.values.values()] for query in queries
    )
    if not first or max(without, default=0.0) > now - BEGIN_STEP:
        raise NoBakeError(f"no pod of the canary with version {version} is scraped")
    replaced = max(others, default=-inf) + DNS_SECONDS
    if replaced > now:
        raise NoBakeError(f"another canary than version {version} may still get tries")
    return max([*first, *without, replaced])


def judge(prometheus: Source, query: Query, limits: Limits, now: float) -> dict[str, Any]:
    """The answer to a query, see `as_json`. Raises NoVerdictError where the version keeps baking for want of metrics."""
    evidence, found = read_bake(prometheus, query, limits, now)
    return as_json(found, evidence.version, evidence.began, limits)


def read_bake(prometheus: Source, query: Query, limits: Limits, now: float) -> tuple[Evidence, Verdict]:
    """The evidence of a bake up to `now`, and its verdict. The same query and time give the same answer at any later time.

    Raises NoVerdictError where the version keeps baking for want of metrics.
    """
    version = query.version
    try:
        since = query.since if query.since is not None else begin_of_bake(prometheus, version, limits, now)
    except PrometheusError as error:
        raise NoVerdictError(str(error)) from error
    # After the longest bake the verdict is final: nothing later counts, and the work has a bound.
    until = min(now, since + 60 * limits.max_bake_minutes)
    evidence = Evidence(version, since, CANDIDATE, (BASELINE,))
    moment = since
    while moment < until and evidence.outage is None:
        moment = min(moment + OBSERVATIONS_AT_ONCE * limits.check_seconds, until)
        evidence = read_evidence(prometheus, evidence, moment, limits.check_seconds, PODS)
    found = verdict(evidence, limits, (until - since) / 60)
    if found.decision == Decision.BAKING and evidence.outage is not None:
        raise NoVerdictError(str(evidence.outage))
    return evidence, found


def as_json(found: Verdict, version: str, since: float, limits: Limits) -> dict[str, Any]:
    """An answer: `verdict`, `version`, `since`, `minutes` of the bake, `minutes_left`, `reasons` and `measures`.

    `minutes_left` is the wait for the shortest bake, then for the longest one; 0 at the end. Each measure has a value and
    a limit in its unit, and the size of its sample. `evidence` is the odds against the canary, `needed` those that fail it.
    """
    end = limits.bake_minutes if found.minutes < limits.bake_minutes else limits.max_bake_minutes
    left = max(end - found.minutes, 0.0) if found.decision == Decision.BAKING else 0.0
    return {
        "verdict": found.decision,
        "version": version,
        "since": to_iso(since),
        "minutes": round(found.minutes, 3),
        "minutes_left": round(left, 3),
        "reasons": found.reasons,
        "measures": [_measure(each) for each in found.readings],
    }


def _measure(reading: Reading) -> dict[str, Any]:
    return {
        "name": reading.name,
        "outcome": reading.outcome,
        "value": _finite(reading.value),
        "limit": _finite(reading.threshold),
        "unit": reading.unit,
        "sample": reading.sample,
        "evidence": _finite(reading.evidence),
        "needed": reading.needed,
        "required": reading.required,
        "message": reading.message,
        "query": reading.query,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def create_service(prometheus: Callable[[], Source], limits: Limits, now: Callable[[], float] = time.time) -> Flask:
    """The service as a WSGI application. `prometheus` makes the source of one answer."""
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @app.get("/verdict")
    def read_verdict() -> Response:
        moment = now()
        answer = judge(prometheus(), Query.of(request.args, moment), limits, moment)
        log.info("version %s: %s after %s min", answer["version"], answer["verdict"], answer["minutes"])
        return jsonify(answer)

    @app.errorhandler(BadParameterError)
    def refuse(error: BadParameterError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400

    @app.errorhandler(NoVerdictError)
    def keep_baking(error: NoVerdictError) -> tuple[Response, int]:
        return jsonify(error=f"{error}: keep baking"), 503

    @app.errorhandler(HTTPException)
    def other_status(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    @app.errorhandler(Exception)
    def failed(error: Exception) -> tuple[Response, int]:
        log.exception("no verdict", exc_info=error)
        return jsonify(error="an error of the service, see its log: keep baking"), 500

    return app


def main() -> Flask:
    """The service of this environment. If it cannot start, one line says why, and the process ends."""
    try:
        settings = CanarySettings()
    except ValidationError as error:
        sys.stderr.write(f"{settings_problem(error)}\n")
        raise SystemExit(APP_LOAD_ERROR) from error
    if settings.canary_watched != "off":
        sys.stderr.write("CANARY_WATCHED: must be off here, because the telemetry stays with the retraining\n")
        raise SystemExit(APP_LOAD_ERROR)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    return create_service(lambda: WithinTime(settings.prometheus_url), Limits.of(settings))
