"""The service with faults before its answers, by `FAULT_*` in its environment. Its own metrics see them like real ones."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from itertools import count
from typing import TYPE_CHECKING

from flask import abort, current_app, request

from app.wsgi import main as real

if TYPE_CHECKING:
    from flask import Flask

ERROR_SHARE = float(os.environ.get("FAULT_ERROR_SHARE", "0"))
SECONDS = float(os.environ.get("FAULT_SECONDS", "0"))
# Shadow and warm-up find what is there from the start; this long after it, only users and the verdict can.
AFTER_SECONDS = float(os.environ.get("FAULT_AFTER_SECONDS", "0"))
# A worker that is killed at every so-manieth answer of its own; each has its own count, from its fork on.
WORKER_ANSWERS = int(os.environ.get("FAULT_WORKER_ANSWERS", "0"))
DIES_SECONDS = float(os.environ.get("FAULT_DIES_SECONDS", "0"))

_answers = count(1)


def main() -> Flask:
    """The application that Gunicorn loads, in its master."""
    if os.environ.get("FAULT_START"):
        raise SystemExit("it does not start")
    app = real()
    app.config["FAULTS_FROM"] = time.monotonic() + AFTER_SECONDS
    app.before_request(fault)
    if DIES_SECONDS:
        threading.Thread(target=die, daemon=True).start()
    return app


def fault() -> None:
    """Wait, and fail at times."""
    if request.path.startswith("/recommend/") and time.monotonic() > current_app.config["FAULTS_FROM"]:
        time.sleep(SECONDS)
        if WORKER_ANSWERS and next(_answers) >= WORKER_ANSWERS:
            os.kill(os.getpid(), signal.SIGKILL)
        if random.random() < ERROR_SHARE:  # noqa: S311 - a fault, no secret
            abort(500)


def die() -> None:
    """End the master after a while: with a container's first process all others are killed. No signal of its own reaches it."""
    time.sleep(DIES_SECONDS)
    os._exit(1)
