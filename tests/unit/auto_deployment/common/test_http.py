from __future__ import annotations

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.http import is_ready
from tests.http_server import served

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def service(status: int) -> Iterator[str]:
    """A service whose `/readyz` has this status; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

    with served(Handler) as url:
        yield url


@pytest.mark.parametrize("status", [200, 503])
def test_a_service_is_ready_if_it_answers_200(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment does not see the request."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with service(status) as url:
        assert is_ready(url, seconds=5) is (status == 200)


def test_a_service_that_does_not_run_is_not_ready() -> None:
    """A refused connection is an answer, not an error."""
    with service(200) as url:
        pass
    assert not is_ready(url, seconds=1)
