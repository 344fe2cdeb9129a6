"""Builds a service from the parts that the caller passes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask

from app.fresh.overlay import folder_in_use
from app.metrics import Metrics
from app.request_log import RequestLog
from app.routes import Provenance, Recommends, Service, add_routes
from app.track import Track

if TYPE_CHECKING:
    from app.settings import ServiceSettings


def create_app(settings: ServiceSettings, recommender: Recommends, provenance: Provenance | None) -> Flask:
    """The service as a WSGI application. Opens nothing but the metric files and the request log."""
    app = Flask("movierec", static_folder=None)
    track = Track(settings.track, settings.track_file)
    metrics = Metrics(app, track(), recommender.version) if settings.metrics else None
    request_log = RequestLog(metrics.lines_lost.inc if metrics else None) if settings.request_log else None
    service = Service(
        recommender=recommender,
        provenance=provenance,
        track=track,
        log_request=request_log.write if request_log else None,
        count_lost=metrics.rows_lost.inc if metrics else None,
        count_answer=metrics.count_answer if metrics else None,
        overlay=folder_in_use(settings),
    )
    add_routes(app, service)
    return app
