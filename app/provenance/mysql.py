"""How the database is reached: its URL, its secrets in files, and what every connection is told."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

# Strict, or a value that does not fit would be cut and stored; and the tables hold UTC.
_SESSION = "SET SESSION sql_mode = 'TRADITIONAL', time_zone = '+00:00'"
_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 60
_SQLITE_WAIT = "PRAGMA busy_timeout=5000"
_FORMS = "give mysql+pymysql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///FILE"


class SecretError(Exception):
    """A file that should hold a secret does not; the text names it and says what to do."""


def read_secret(path: Path) -> str:
    """The secret in a file, without the line's end. Raises SecretError where it cannot be read or is empty."""
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SecretError(f"{path}: the secret in it cannot be read ({reason}): mend or remove the file") from error
    if not secret:
        raise SecretError(f"{path}: is empty, but should hold a secret: write it, or remove the file")
    return secret


def mysql_url(host: str, port: int, database: str | None, user: str, password: str) -> str:
    """The database as a SQLAlchemy URL, password and all."""
    url = sa.URL.create("mysql+pymysql", user, password, host, port, database)
    return url.render_as_string(hide_password=False)


def check_url(url: str) -> None:
    """Raises ValueError where no database could ever be reached by this URL; its text holds nothing of it. Nobody is asked."""
    try:
        told = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ValueError(f"is not a URL: {_FORMS}") from error
    if told.drivername in ("sqlite", "sqlite+pysqlite"):
        if told.host is not None:
            raise ValueError(f"SQLite has no host: {_FORMS}")
    elif told.drivername != "mysql+pymysql":
        raise ValueError(f"is of no database that can be used: {_FORMS}")
    elif not (told.host and told.database):
        raise ValueError(f"lacks the host or the database: {_FORMS}")
    elif told.port is not None and not 0 < told.port < 65536:
        raise ValueError(f"its port is none: {_FORMS}")


def checked_url(given: SecretStr) -> SecretStr:
    """The same, for a setting: `check_url` raises ValueError where it names no database."""
    check_url(given.get_secret_value())
    return given


def error_number(error: BaseException) -> int | None:
    """MySQL's number of an error: 1045 for a login that it refuses. None where the error has none, as SQLite's."""
    cause = getattr(error, "orig", None) or error
    number = cause.args[0] if cause.args else None
    return number if isinstance(number, int) and number > 0 else None


def open_engine(url: str) -> sa.Engine:
    """The engine of a URL; nothing is connected yet. Its errors show no parameters: those are users and secrets."""
    if sa.make_url(url).get_backend_name() != "mysql":
        engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
        sa.event.listen(engine, "connect", _wait_for_other_writers)
        return engine
    told = {
        "ssl": _encrypted(),
        "init_command": _SESSION,
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _ANSWER_SECONDS,
        "write_timeout": _ANSWER_SECONDS,
    }
    return sa.create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=told)


def _encrypted() -> ssl.SSLContext:
    """TLS to the server, whose certificate is its own making: without TLS its login needs a package for RSA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _wait_for_other_writers(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(_SQLITE_WAIT)
