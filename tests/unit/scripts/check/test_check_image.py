from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from scripts.check.image import REQUEST, problems


def test_answers_of_the_version_pass() -> None:
    """A list for a known user and one for a new user."""
    assert problems({"version": 4}, ["a,b", "c"], 4) == []


def test_another_version_is_named() -> None:
    """Both numbers are in the message. Before the first version any number passes."""
    assert problems({"version": 3}, ["a"], 4) == ["it serves version 3, version.txt says 4"]
    assert problems({"version": 3}, ["a"], 0) == []


@pytest.mark.parametrize("text", ["", "a,a", "a,,b", "a b", ",".join(map(str, range(21))), "<html>,é"])
def test_a_malformed_list_is_named(text: str) -> None:
    """An empty text, a film twice, an empty id, a blank, more than 20 ids, or no ASCII."""
    assert problems({"version": 4}, ["a", text], 4) == [f"it recommends {text[:80]!r}"]


def test_a_request_in_a_container_uses_no_proxy() -> None:
    """Docker gives each container the proxies of its client's configuration."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"answered " + self.path.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        command = [sys.executable, "-c", REQUEST.replace(":5000", f":{server.server_port}"), "/readyz"]
        environment = {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert ended.stdout == "answered /readyz\n", ended.stderr
