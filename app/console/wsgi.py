"""The composition root of the console. Gunicorn loads `app.console.wsgi:main()`."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from pydantic import ValidationError

from app.console.answers import Answers
from app.console.factory import create_console
from app.console.host_files import HostFiles
from app.console.prometheus import Prometheus
from app.console.views import Sources
from app.settings import ConsoleSettings, settings_problem

if TYPE_CHECKING:
    from flask import Flask

# Gunicorn's own status for an application that cannot be loaded: the master ends instead of trying again.
APP_LOAD_ERROR = 4


def main() -> Flask:
    """The console of this environment. If it cannot start, one line says why, and the process ends."""
    try:
        settings = ConsoleSettings()
    except ValidationError as error:
        sys.stderr.write(f"{settings_problem(error)}\n")
        raise SystemExit(APP_LOAD_ERROR) from error
    sources = Sources(
        prometheus=None if settings.metrics_url is None else Prometheus(settings.metrics_url),
        files=HostFiles(settings.release_dir, settings.versions_dir, settings.console_dir),
        answers=Answers(settings.database_url),
    )
    threading.Thread(target=sources.answers.warm_up, daemon=True).start()
    hosts = {name.strip().lower() for name in (settings.console_hosts or "").split(",")} - {""}
    return create_console(sources, hosts)
