"""The service as a WSGI application with faults in front of it, by `FAULT_*` in its environment."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

from app.wsgi import main as real

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ERROR_SHARE = float(os.environ.get("FAULT_ERROR_SHARE", "0"))
SECONDS = float(os.environ.get("FAULT_SECONDS", "0"))


def main() -> Callable[..., Iterable[bytes]]:
    """The application that Gunicorn loads."""
    service = real()

    def faulty(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/recommend/"):
            time.sleep(SECONDS)
            if random.random() < ERROR_SHARE:
                start_response("500 Internal Server Error", [("Content-Type", "text/plain"), ("Content-Length", "5")])
                return [b"fault"]
        return service(environ, start_response)

    return faulty
