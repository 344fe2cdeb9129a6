"""Prometheus's HTTP API, as far as a release needs it: a query over a range of times.

https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import requests

from auto_deployment.common.errors import RunError
from auto_deployment.common.http import internal_session, reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 5.0


class PrometheusError(RunError):
    """Prometheus gave no metrics."""


class UnreachableError(PrometheusError):
    """No answer came, or the answer is not one of Prometheus."""


class QueryError(PrometheusError):
    """Prometheus refused the query."""


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels, and its values by time in seconds since 1970. A value may be no number."""

    labels: Mapping[str, str]
    values: Mapping[float, float]


class Source(Protocol):
    """What answers queries."""

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """Values at `start`, and each `step` seconds after, up to `end`. Raises PrometheusError."""


class Prometheus:
    """A server by its URL."""

    def __init__(self, url: str, seconds: float = SECONDS) -> None:
        self._url = url.rstrip("/")
        self._seconds = seconds

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """Values at `start`, and each `step` seconds after, up to `end`. Raises UnreachableError and QueryError."""
        form: dict[str, str | float] = {"query": query, "start": start, "end": end, "step": step}
        answer = self._post("query_range", {**form, "timeout": f"{self._seconds:g}s"})
        try:
            return [_series(each) for each in answer["data"]["result"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UnreachableError(f"{self._url}: what answers is not Prometheus ({type(error).__name__})") from error

    def _post(self, endpoint: str, form: Mapping[str, str | float]) -> dict[str, Any]:
        try:
            with internal_session() as session:
                body = session.post(f"{self._url}/api/v1/{endpoint}", data=form, timeout=self._seconds).content
        except requests.RequestException as error:
            raise UnreachableError(f"{self._url}: Prometheus cannot be reached ({reason_of(error)})") from error
        try:
            answer = json.loads(body)
            succeeded = answer["status"] == "success"
        except (ValueError, KeyError, TypeError) as error:
            raise UnreachableError(f"{self._url}: what answers is not Prometheus") from error
        if not succeeded:
            raise QueryError(f"{self._url}: {answer.get('errorType')}: {answer.get('error')}")
        return dict(answer)


def _series(result: Mapping[str, Any]) -> Series:
    return Series(result["metric"], {round(float(at), 3): float(value) for at, value in result["values"]})
