"""The composition root: only this module reads the environment and opens files. Gunicorn loads `app.wsgi:main()`."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from pydantic import ValidationError

from app.exploring import recommender_of
from app.factory import create_app
from app.fresh.list_model import ListModel
from app.fresh.overlay import Reader, folder_in_use
from app.fresh.recommender import FreshRecommender
from app.journal import Journal, JournalError
from app.model import ArtifactError, load_serving
from app.settings import ServiceSettings, settings_problem

if TYPE_CHECKING:
    from flask import Flask

    from app.routes import Recommends

log = logging.getLogger(__name__)

MIB = 1 << 20
# At this size a worker begins a new journal.
SEGMENT_BYTES = 8 * MIB
# Gunicorn's own status for an application that cannot be loaded: the master ends instead of trying again.
APP_LOAD_ERROR = 4


def main() -> Flask:
    """The application of this environment. If it cannot start, one line says why, and the process ends."""
    try:
        settings = ServiceSettings()
        recommender = _recommender(settings)
        provenance = _journal(settings)
    except (ArtifactError, JournalError, ValidationError) as error:
        sys.stderr.write(f"{settings_problem(error)}\n")
        raise SystemExit(APP_LOAD_ERROR) from error
    return create_app(settings, recommender, provenance)


def _recommender(settings: ServiceSettings) -> Recommends:
    model = load_serving(settings.model_dir)
    inner = recommender_of(model)
    overlay = folder_in_use(settings)
    if overlay is None:
        return inner
    return FreshRecommender(inner, model, Reader(overlay), lambda: ListModel(settings.model_dir))


def _journal(settings: ServiceSettings) -> Journal | None:
    if settings.journal_dir is None:
        log.warning("JOURNAL_DIR is not set: answers are not journalled, and nobody can trace them later")
        return None
    folder = settings.journal_dir / settings.service
    max_bytes = settings.journal_max_mb * MIB
    # Every worker has an open segment that the shipper cannot remove, and needs space for the next one.
    return Journal(folder, max_bytes, min(SEGMENT_BYTES, max_bytes // (2 * settings.workers)))
