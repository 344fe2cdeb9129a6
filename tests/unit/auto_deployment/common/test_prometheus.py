from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from math import isnan
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from auto_deployment.common.prometheus import Prometheus, QueryError, UnreachableError
from tests.http_server import served

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED: list[dict[str, list[str]]] = []


@contextmanager
def answering(body: bytes, status: int = 200, wait: threading.Event | None = None) -> Iterator[str]:
    """A server that gives one answer to everything, after `wait` where there is one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = self.rfile.read(int(self.headers["Content-Length"])).decode()
            ASKED.append({"path": [self.path], **parse_qs(found)})
            if wait is not None:
                wait.wait(5)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

    with served(Handler) as url:
        yield f"{url}/"


def matrix(*series: dict[str, object]) -> bytes:
    """An answer of Prometheus."""
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}).encode()


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its name and case; by a stack's own calls neither."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with answering(matrix()) as url:
        assert Prometheus(url).over("up", 0.0, 60.0, 60.0) == []


def test_series_come_with_labels_and_values_by_time() -> None:
    """The question goes out as told; NaN is kept as what it is."""
    body = matrix({"metric": {"service": "canary"}, "values": [[60, "1.5"], [120.0004, "NaN"]]})
    with answering(body) as url:
        (series,) = Prometheus(url).over("up", 60.0, 120.0, 60.0)
    assert series.labels == {"service": "canary"}
    assert series.values[60.0] == 1.5
    assert isnan(series.values[120.0])
    assert ASKED[-1]["path"] == ["/api/v1/query_range"]
    assert [ASKED[-1][name] for name in ("query", "start", "end", "step")] == [["up"], ["60.0"], ["120.0"], ["60.0"]]


def test_an_empty_answer_is_no_failure() -> None:
    """There is no such series: that is for the verdict to judge."""
    with answering(matrix()) as url:
        assert Prometheus(url).over("up", 0, 0, 60) == []


@pytest.mark.parametrize("status", [400, 422, 503])
def test_a_refused_query_is_reported_with_its_reason(status: int) -> None:
    """Prometheus is there, and says no."""
    body = b'{"status": "error", "errorType": "bad_data", "error": "parse error"}'
    with answering(body, status) as url, pytest.raises(QueryError, match="bad_data: parse error"):
        Prometheus(url).over("up{", 0, 0, 60)


@pytest.mark.parametrize("body", [b"<html>502 Bad Gateway</html>", b"[]", b"{}", b'{"status": "success"}', b"\xff"])
@pytest.mark.parametrize("status", [200, 502])
def test_what_is_not_prometheus_is_not_reached(body: bytes, status: int) -> None:
    """A proxy's page, or another service on the port."""
    with answering(body, status) as url, pytest.raises(UnreachableError, match="not Prometheus"):
        Prometheus(url).over("up", 0, 0, 60)


def test_nobody_there_is_not_reached() -> None:
    """A refused connection."""
    with answering(b"") as url:
        pass
    with pytest.raises(UnreachableError, match=r"cannot be reached \(Failed to establish .* Connection refused\)"):
        Prometheus(url).over("up", 0, 0, 60)


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    """A server that took the question and is silent."""
    wait = threading.Event()
    with answering(b"", wait=wait) as url:
        with pytest.raises(UnreachableError, match="cannot be reached"):
            Prometheus(url, seconds=0.1).over("up", 0, 0, 60)
        wait.set()


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus is a neighbour."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(matrix()) as url:
        assert Prometheus(url).over("up", 0, 0, 60) == []
