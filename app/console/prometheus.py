"""Prometheus's HTTP API as the console needs it: values now, values over time, and alerts.

https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from app.console.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 2.0
MOST_BYTES = 8 << 20


class Series(NamedTuple):
    """One series: its labels, and its values by time in seconds since 1970."""

    labels: Mapping[str, str]
    values: Mapping[float, float]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.values[max(self.values)]


class Alert(NamedTuple):
    """An alert that fires: its name, severity, and texts; `since` is ISO 8601."""

    name: str
    severity: str
    summary: str
    description: str
    action: str
    since: str


class Prometheus:
    """A server by its URL. Every method raises ProblemError where it gives no answer."""

    def __init__(self, url: str, seconds: float = SECONDS) -> None:
        self._url = url.rstrip("/")
        self._seconds = seconds
        self._outage: ProblemError | None = None
        # A proxy of the environment has no way to a server of the stack.
        self._opener = build_opener(ProxyHandler({}))

    def for_page(self) -> Prometheus:
        """The same server for the queries of one page: once it cannot be reached, no other query waits for it."""
        return Prometheus(self._url, self._seconds)

    def now(self, query: str) -> list[Series]:
        """The series of a query, each with its newest value."""
        found = self._get("query", {"query": query, "timeout": f"{self._seconds:g}s"})
        return [_series(each["metric"], [each["value"]]) for each in found["result"]]

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """The series of a query from `start` to `end`, a value each `step` seconds."""
        form = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        found = self._get("query_range", {**form, "timeout": f"{self._seconds:g}s"})
        return [_series(each["metric"], each["values"]) for each in found["result"]]

    def alerts(self) -> list[Alert]:
        """The alerts that fire, critical ones first."""
        firing = [_alert(each) for each in self._get("alerts", {})["alerts"] if each["state"] == "firing"]
        return sorted(firing, key=lambda each: (each.severity != "critical", each.since))

    def _get(self, endpoint: str, form: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON of Prometheus
        if self._outage is not None:
            raise self._outage
        try:
            with self._opener.open(f"{self._url}/api/v1/{endpoint}?{urlencode(form)}", timeout=self._seconds) as answer:
                return json.loads(answer.read(MOST_BYTES))["data"]
        except HTTPError as error:
            with error:  # it holds the connection
                message = f"Prometheus refuses a query ({error.code}): {_reason(error)}"
            raise ProblemError(message, "docker compose logs --tail 20 prometheus") from error
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            self._outage = ProblemError(f"Prometheus cannot be reached ({reason})", "docker compose ps prometheus")
            raise self._outage from error
        except (ValueError, KeyError, TypeError) as error:
            raise ProblemError("what answers is not Prometheus", "check METRICS_URL") from error


def _reason(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(MOST_BYTES))["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return error.reason


def _series(labels: Mapping[str, str], values: list[Any]) -> Series:
    return Series(labels, {float(at): float(value) for at, value in values})


def _alert(found: Mapping[str, Any]) -> Alert:
    texts, labels = found["annotations"], found["labels"]
    return Alert(
        name=labels["alertname"],
        severity=labels.get("severity", "warning"),
        summary=texts.get("summary", labels["alertname"]),
        description=texts.get("description", ""),
        action=texts.get("action", ""),
        since=found["activeAt"],
    )
