from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from scripts.check.image import ASK, judge


def test_answers_of_the_version_pass() -> None:
    """A list for somebody and one for a stranger."""
    assert judge({"version": 4}, ["a,b", "c"], 4) == []


def test_another_version_is_named() -> None:
    """What is served, and what git names; before the first version it may be any."""
    assert judge({"version": 3}, ["a"], 4) == ["it serves version 3, version.txt says 4"]
    assert judge({"version": 3}, ["a"], 0) == []


@pytest.mark.parametrize("text", ["", "a,a", "a,,b", "a b", ",".join(map(str, range(21))), "<html>,é"])
def test_what_is_no_list_is_named(text: str) -> None:
    """Empty, twice the same, a gap, a blank, more than 20."""
    assert judge({"version": 4}, ["a", text], 4) == [f"it recommends {text[:80]!r}"]


def test_a_container_is_asked_without_a_proxy() -> None:
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
        command = [sys.executable, "-c", ASK.replace(":5000", f":{server.server_port}"), "/readyz"]
        environment = {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert ended.stdout == "answered /readyz\n", ended.stderr
