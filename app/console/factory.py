"""Builds the console from the sources that the caller passes in."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING

from flask import Flask, Response, render_template, request
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException, InternalServerError

from app.console import texts
from app.console.views import REFRESH_SECONDS, add_pages

if TYPE_CHECKING:
    from collections.abc import Collection

    from app.console.views import Sources

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

MESSAGES = {404: "There is no such page.", 405: "The console only reads."}


def create_console(sources: Sources, hosts: Collection[str] = ()) -> Flask:
    """The console as a WSGI application. `hosts` are its names besides localhost and the loopback addresses."""
    app = Flask("app.console")
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(printed=texts.printed, measured=texts.measured)
    app.jinja_env.filters.update(list_name=texts.list_name, check_name=texts.check_name)
    for name in app.jinja_env.list_templates():
        app.jinja_env.get_template(name)  # compiled before the first page
    app.before_request(_Guard(frozenset(hosts)))
    app.after_request(_secured)
    app.register_error_handler(Exception, _failed)
    add_pages(app, sources)
    return app


class _Guard:
    """Refuses a Host header that is not ours: another site's name may have been pointed at this address (DNS rebinding)."""

    def __init__(self, hosts: frozenset[str]) -> None:
        self._hosts = hosts

    def __call__(self) -> Response | None:
        name = request.host.rpartition("]")[0].lstrip("[") or request.host.partition(":")[0]
        if name == "localhost" or name in self._hosts or _is_loopback(name):
            return None
        return Response(
            "this host name is not the console's: set CONSOLE_HOSTS\n", 421, content_type="text/plain; charset=utf-8"
        )


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _secured(response: Response) -> Response:
    response.headers.update(HEADERS)
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _failed(error: Exception) -> tuple[str, int]:
    """A page for an error. A traceback is only in the log."""
    if not isinstance(error, HTTPException):
        log.exception("%s failed", request.path[:200])
        error = InternalServerError()
    message = MESSAGES.get(error.code or 500, "The page cannot be made: see the console's log.")
    return render_template("missing.html", message=message, now=0.0, refresh=REFRESH_SECONDS, home="/"), error.code or 500
