"""What the console reads of Prometheus's HTTP API, and what it says where that gives nothing."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.console.charts import CANARY, Curve, draw
from app.console.problems import ProblemError
from app.console.prometheus import Prometheus
from tests.http_server import running

if TYPE_CHECKING:
    from collections.abc import Iterator


class Server(HTTPServer):
    """Gives one answer to each query, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body, self.queries = 200, b"{}", list[dict[str, list[str]]]()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def gives(self, **data: Any) -> None:
        """Answer with these data from now on."""
        self.body = json.dumps({"status": "success", "data": data}).encode()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        self.server.queries.append(parse_qs(urlsplit(self.path).query))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that runs."""
    with running(Server()) as server:
        yield server


def test_values_now_come_with_their_labels(server: Server) -> None:
    """Numbers are texts in Prometheus's answers."""
    server.gives(resultType="vector", result=[{"metric": {"service": "canary"}, "value": [1.5, "0.25"]}])
    (series,) = Prometheus(server.url).now("up")
    assert (series.labels, series.last) == ({"service": "canary"}, 0.25)
    assert server.queries[0]["query"] == ["up"]


def test_only_alerts_that_fire_are_shown_the_critical_first(server: Server) -> None:
    """One that is only pending may never fire."""
    texts = {"summary": "s", "description": "d", "action": "a"}
    alerts = [
        {"labels": {"alertname": name, "severity": severity}, "annotations": texts, "state": state, "activeAt": "2026-01-05"}
        for name, severity, state in (("A", "warning", "firing"), ("B", "critical", "pending"), ("C", "critical", "firing"))
    ]
    server.gives(alerts=alerts)
    assert [(each.name, each.action) for each in Prometheus(server.url).alerts()] == [("C", "a"), ("A", "a")]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, b'{"status": "error", "error": "parse error"}', "refuses a query \\(400\\): parse error"),
        (503, b"<html>", "refuses a query \\(503\\)"),
        (200, b"<html>", "not Prometheus"),
        (200, b"[]", "not Prometheus"),
        (200, b'{"status": "success"}', "not Prometheus"),
    ],
)
def test_an_answer_that_is_none_is_a_problem_with_what_to_do(server: Server, status: int, body: bytes, message: str) -> None:
    """Whatever answers at that address."""
    server.status, server.body = status, body
    with pytest.raises(ProblemError, match=message) as raised:
        Prometheus(server.url).now("up")
    assert raised.value.action


def test_one_page_waits_only_once_for_a_server_that_is_away() -> None:
    """The next page tries again."""
    away = Prometheus("http://127.0.0.1:1", 0.5)
    page = away.for_page()
    problems = []
    for _ in range(2):
        with pytest.raises(ProblemError, match="cannot be reached") as raised:
            page.now("up")
        problems.append(raised.value)
    assert problems[0] is problems[1]
    with pytest.raises(ProblemError) as again:
        away.for_page().now("up")
    assert again.value is not problems[0]


def test_curves_of_a_long_release_have_few_points_and_gaps_stay_gaps(server: Server) -> None:
    """A bake of a day at a step of minutes; a value that is no number is no value."""
    server.gives(resultType="matrix", result=[{"metric": {"service": "canary"}, "values": [[86400, "0.002"], [0, "NaN"]]}])
    charts = draw(Prometheus(server.url), CANARY, 0.0, 86400.0)
    assert [chart.title for chart in charts] == [curve.title for curve in CANARY]
    assert len(charts[0].times) <= 241
    assert charts[0].lines["canary"][-1] == pytest.approx(2.0)
    assert charts[0].lines["canary"].count(None) == len(charts[0].times) - 1
    assert dict(charts[0].newest())["canary"] == pytest.approx(2.0)
    assert not charts[0].is_empty


def test_the_curves_of_a_young_stack_begin_with_the_first_value_of_any(server: Server) -> None:
    """Of three hours, Prometheus knows a quarter. Where it only knows a minute, some minutes before it are shown too."""
    for first, shown in ((9_900, 9_900), (10_755, 10_485)):
        server.gives(resultType="matrix", result=[{"metric": {"service": "canary"}, "values": [[first, "1"], [10_800, "1"]]}])
        charts = draw(Prometheus(server.url), CANARY, 0.0, 10_800.0)
        assert {chart.times[0] for chart in charts} == {shown}
        assert {len(line) for chart in charts for line in chart.lines.values()} == {len(charts[0].times)}


def test_a_curve_without_a_series_is_empty(server: Server) -> None:
    """As in a stack that has just started."""
    server.gives(resultType="matrix", result=[])
    (chart,) = draw(Prometheus(server.url), [Curve("t", "ms", "q", "service")], 0.0, 60.0)
    assert chart.is_empty
    assert chart.data() == {"unit": "ms", "names": [], "data": [[0.0, 15.0, 30.0, 45.0, 60.0]]}
