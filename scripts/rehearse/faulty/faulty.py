"""The service with faults, by `FAULT_*` in its environment. The service's metrics count these faults like real ones."""

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
# The faults begin this long after the start. Shadow and warm-up find a fault that is there from the start.
AFTER_SECONDS = float(os.environ.get("FAULT_AFTER_SECONDS", "0"))
# Each worker is killed at this number of answers. A worker counts from its fork.
WORKER_ANSWERS = int(os.environ.get("FAULT_WORKER_ANSWERS", "0"))
DIES_SECONDS = float(os.environ.get("FAULT_DIES_SECONDS", "0"))

_answers = count(1)


def main() -> Flask:
    """The application that Gunicorn loads, in its master."""
    if os.environ.get("FAULT_START"):
        raise SystemExit("FAULT_START is set: the service does not start")
    app = real()
    app.config["FAULTS_FROM"] = time.monotonic() + AFTER_SECONDS
    app.before_request(fault)
    if DIES_SECONDS:
        threading.Thread(target=die, daemon=True).start()
    return app


def fault() -> None:
    """Delay an answer, kill its worker or answer with status 500, as the environment says."""
    if request.path.startswith("/recommend/") and time.monotonic() > current_app.config["FAULTS_FROM"]:
        time.sleep(SECONDS)
        if WORKER_ANSWERS and next(_answers) >= WORKER_ANSWERS:
            os.kill(os.getpid(), signal.SIGKILL)
        if random.random() < ERROR_SHARE:  # noqa: S311 - a fault, no secret
            abort(500)


def die() -> None:
    """End the master after DIES_SECONDS, and with it the container. The master would ignore a signal from itself."""
    time.sleep(DIES_SECONDS)
    os._exit(1)
