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

try:
    _settings = ServiceSettings()
except ValidationError as _error:
    sys.stderr.write(f"{settings_problem(_error)}\n")
    raise SystemExit(1) from _error

# The metric files of a former life would be added to this one's, and prometheus_client reads the name on import.
_metric_files = _settings.run_dir / "metrics"
shutil.rmtree(_metric_files, ignore_errors=True)
try:
    _metric_files.mkdir(parents=True)
except OSError as _error:
    sys.stderr.write(f"RUN_DIR: {_metric_files}: {_error.strerror}: the metric files need a folder that can be written\n")
    raise SystemExit(1) from _error
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_metric_files)

wsgi_app = "app.wsgi:main()"
bind = _settings.bind
workers = _settings.workers
worker_class = "app.worker.OnePieceWorker"
threads = 1  # answers are pure computing: more threads only wait for each other
preload_app = True  # the artifact is checked once, and its pages are shared
keepalive = 75  # longer than NGINX keeps an idle connection (60 s), so that NGINX is always the one to close
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
    """Open the port of the metrics, in the master: a saturated worker must not starve the scrape."""
    if _settings.metrics:
        from app.metrics import serve  # noqa: PLC0415 - reads the environment

        try:
            serve(server.app.wsgi(), _settings)
        except OSError as error:
            sys.stderr.write(f"METRICS_BIND: {_settings.metrics_bind}: {error.strerror}\n")
            raise SystemExit(1) from error
        server.log.info("metrics on %s", _settings.metrics_bind)


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Count a worker that is gone, and let go of its gauges."""
    if _settings.metrics:
        from app.metrics import metrics_of  # noqa: PLC0415 - reads the environment

        metrics_of(server.app.wsgi()).note_exit(worker.pid)
