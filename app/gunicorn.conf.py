"""Gunicorn's settings, as code. What an operator may change comes from `ServiceSettings`."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from pydantic import ValidationError

from app.settings import ServiceSettings, settings_problem

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

    from app.metrics import Metrics

try:
    _settings = ServiceSettings()
except ValidationError as _error:
    sys.stderr.write(f"{settings_problem(_error)}\n")
    raise SystemExit(1) from _error

# The metrics would add up old files too, so the folder starts empty. prometheus_client reads the variable on import.
_metric_files = _settings.run_dir / "metrics"
shutil.rmtree(_metric_files, ignore_errors=True)
try:
    _metric_files.mkdir(parents=True)
except OSError as _error:
    sys.stderr.write(f"RUN_DIR: {_metric_files}: {_error.strerror}: the metric files need a writable folder\n")
    raise SystemExit(1) from _error
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_metric_files)

wsgi_app = "app.wsgi:main()"
bind = _settings.bind.split(",")
workers = _settings.workers
worker_class = "app.worker.OnePieceWorker"
threads = 1  # an answer only computes: more threads would wait for each other
preload_app = True  # the master checks the artifact once, and the workers share its memory pages
keepalive = 75  # NGINX closes an idle connection after 60 s, and NGINX must be the first to close
graceful_timeout = 10
timeout = 30
backlog = 1024
limit_request_line = 8190
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108
control_socket_disable = True
proc_name = f"movierec {_settings.service}"
accesslog = None  # the service writes a request log of its own
errorlog = "-"


def when_ready(server: Arbiter) -> None:
    """Serve the metrics in the master process: a saturated worker must not delay a scrape."""
    if _settings.metrics:
        from app.metrics import serve  # noqa: PLC0415 - the import reads the environment

        try:
            serve(server.app.wsgi(), _settings)
        except OSError as error:
            sys.stderr.write(f"METRICS_BIND: {_settings.metrics_bind}: {error.strerror}\n")
            raise SystemExit(1) from error
        server.log.info("metrics on %s", _settings.metrics_bind)


def worker_exit(server: Arbiter, _worker: Worker) -> None:
    """Write the last counts of a worker that ends."""
    if _settings.metrics:
        _metrics(server).write_answers()


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Count a worker that has ended, and drop its gauges."""
    if _settings.metrics:
        _metrics(server).note_exit(worker.pid)


def _metrics(server: Arbiter) -> Metrics:
    from app.metrics import metrics_of  # noqa: PLC0415 - the import reads the environment

    return metrics_of(server.app.wsgi())
