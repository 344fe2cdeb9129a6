"""The service with faults before its answers, by `FAULT_*` in its environment. Its own metrics see them like real ones."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

from flask import abort, request

from app.wsgi import main as real

if TYPE_CHECKING:
    from flask import Flask

ERROR_SHARE = float(os.environ.get("FAULT_ERROR_SHARE", "0"))
SECONDS = float(os.environ.get("FAULT_SECONDS", "0"))
IN_SHADOW = os.environ.get("FAULT_IN_SHADOW", "yes") == "yes"


def main() -> Flask:
    """The application that Gunicorn loads."""
    app = real()
    app.before_request(fault)
    return app


def fault() -> None:
    """Wait, and fail at times."""
    if request.path.startswith("/recommend/") and (IN_SHADOW or "X-Shadow" not in request.headers):
        time.sleep(SECONDS)
        if random.random() < ERROR_SHARE:
            abort(500)
