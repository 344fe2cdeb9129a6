"""Prometheus's HTTP API, as far as a release asks it: a query over a range of times.

https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Protocol
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 5.0
# For calls to our own services: a proxy that the environment names does not know the way to them.
NEIGHBOURS = build_opener(ProxyHandler({}))


class PrometheusError(RunError):
    """Prometheus gave no metrics."""


class UnreachableError(PrometheusError):
    """No answer came, or none of Prometheus."""


class QueryError(PrometheusError):
    """Prometheus answered that it cannot answer this query."""


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
        told = {"query": query, "start": start, "end": end, "step": step, "timeout": f"{self._seconds:g}s"}
        answer = self._ask(Request(f"{self._url}/api/v1/query_range", data=urlencode(told).encode(), method="POST"))  # noqa: S310 - an http URL
        try:
            return [_series(each) for each in answer["data"]["result"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UnreachableError(f"{self._url}: what answers is not Prometheus ({type(error).__name__})") from error

    def _ask(self, request: Request) -> dict[str, Any]:
        try:
            with NEIGHBOURS.open(request, timeout=self._seconds) as answered:
                body = answered.read()
        except HTTPError as error:
            with error:
                body = error.read()
        except (OSError, HTTPException) as error:
            raise UnreachableError(f"{self._url}: Prometheus cannot be reached ({error})") from error
        try:
            answer = json.loads(body)
            succeeded = answer["status"] == "success"
        except (ValueError, KeyError, TypeError) as error:
            raise UnreachableError(f"{self._url}: what answers is not Prometheus") from error
        if not succeeded:
            raise QueryError(f"{self._url}: {answer.get('errorType')}: {answer.get('error')}")
        return dict(answer)


def _series(told: Mapping[str, Any]) -> Series:
    return Series(told["metric"], {round(float(at), 3): float(value) for at, value in told["values"]})
