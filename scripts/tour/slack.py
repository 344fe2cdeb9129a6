"""A Slack of the tour's own: it keeps the messages that are posted to its webhook."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from scripts.ports import reserve
from scripts.rehearse.mailbox import LOOPBACK


class SlackSink:
    """Accepts every message on a port of this machine.

    `messages` has the texts of the project's own, `alerts` the titles of Alertmanager's; the oldest first.
    """

    def __init__(self, host: str = LOOPBACK) -> None:
        """`host`: the address to listen on."""
        self.messages: list[str] = []
        self.alerts: list[str] = []
        (port,) = reserve()
        self._address = host, port
        self.url = f"http://{host}:{port}/services/tour"
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Accept messages from now on."""
        self._server = ThreadingHTTPServer(self._address, self._handler())
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _keep(self, content: dict[str, Any]) -> None:
        if "text" in content:
            self.messages.append(str(content["text"]))
        else:
            self.alerts += [str(each["fallback"]) for each in content["attachments"]]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        keep = self._keep

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                keep(json.loads(content))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Log nothing."""

        return Handler
