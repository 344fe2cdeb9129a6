from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.http import is_ready

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def service(status: int) -> Iterator[str]:
    """A service whose `/readyz` has this status; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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
