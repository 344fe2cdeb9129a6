"""A Slack of the tour's own: it keeps the messages that are posted to its webhook."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from scripts.ports import reserve


class SlackSink:
    """Accepts every message on a loopback port. `messages` has the texts, oldest first."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        (self._port,) = reserve()
        self.url = f"http://127.0.0.1:{self._port}/services/tour"
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Accept messages from now on."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                messages.append(str(json.loads(content)["text"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Log nothing."""

        return Handler
