"""Servers that run in a thread of the test."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from socketserver import BaseServer

Server = TypeVar("Server", bound="BaseServer")


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Serve while the block runs, then close the server."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a free port, without lines on standard error; the URL without a path."""
    quiet = type("Quiet", (handler,), {"log_message": lambda *_: None})
    with running(HTTPServer(("127.0.0.1", 0), quiet)) as server:
        yield f"http://127.0.0.1:{server.server_port}"
