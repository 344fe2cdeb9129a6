"""How the database is reached: its URL, its secrets in files, and what holds for every connection."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import mysql.connector
import sqlalchemy as sa
from mysql.connector.connection import MySQLConnection
from mysql.connector.constants import ClientFlag
from mysql.connector.errors import ConnectionTimeoutError, ReadTimeoutError, WriteTimeoutError
from pydantic import SecretStr

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)
logging.getLogger("mysql.connector").setLevel(logging.WARNING)  # it names its plugins at every connect

_DRIVER, _FORMER_DRIVER = "mysql+mysqlconnector", "mysql+pymysql"
_URL_OPTIONS = ("charset", "collation")  # all else holds for every connection, and is set below
_FORMS = f"give {_DRIVER}://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///FILE"
_SQLITE_WAIT = "PRAGMA busy_timeout=5000"
_CONNECT = {
    # TLS to the server, whose certificate is its own making.
    "ssl_disabled": False,
    "ssl_verify_cert": False,
    "ssl_verify_identity": False,
    "connection_timeout": 5,
    "read_timeout": 60,
    "write_timeout": 60,
    # Strict, or a value that does not fit would be cut and stored; and the tables hold UTC.
    "init_command": "SET SESSION sql_mode = 'TRADITIONAL', time_zone = '+00:00'",
    "client_flags": (ClientFlag.get_default() | ClientFlag.FOUND_ROWS) & ~ClientFlag.MULTI_STATEMENTS,
    "buffered": False,  # or no query could be streamed; SQLAlchemy asks for a buffer where it wants one
}
# The server ends the connection: it shuts down, an operator killed the connection, or the connection was idle for too long.
_ENDED = (1053, 1927, 3169, 4031)


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
    url = sa.URL.create(_DRIVER, user, password, host, port, database)
    return url.render_as_string(hide_password=False)


def checked_url(given: SecretStr) -> SecretStr:
    """The database's URL, for a setting. A URL of PyMySQL, the former driver, is made one of today's.

    Raises ValueError where no database could ever be reached by this URL; its text holds nothing of it. Nothing is connected.
    """
    try:
        url = sa.make_url(given.get_secret_value())
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ValueError(f"is not a URL: {_FORMS}") from error
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if url.host is not None:
            raise ValueError(f"SQLite has no host: {_FORMS}")
        return given
    if url.drivername not in (_DRIVER, _FORMER_DRIVER):
        raise ValueError(f"is of no database that can be used: {_FORMS}")
    if not (url.host and url.database):
        raise ValueError(f"lacks the host or the database: {_FORMS}")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError(f"its port is none: {_FORMS}")
    others = tuple(sorted(set(url.query) - set(_URL_OPTIONS)))
    if url.drivername == _FORMER_DRIVER:
        _warn_of_former_driver(others)
        url = url.set(drivername=_DRIVER).difference_update_query(others)
        return SecretStr(url.render_as_string(hide_password=False))
    if others:
        raise ValueError(f"its options can only be {', '.join(_URL_OPTIONS)}: remove the others after the ?")
    return given


@functools.cache
def _warn_of_former_driver(ignored: tuple[str, ...]) -> None:
    """Once in a process, however often it reads its settings."""
    without = f", without its options {', '.join(ignored)}" if ignored else ""
    log.warning("PROVENANCE_URL: %s is the former driver; the URL is used as %s%s: change it", _FORMER_DRIVER, _DRIVER, without)


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
    # By position: the driver takes a tenth less time for a row than by name.
    engine = sa.create_engine(url, paramstyle="format", pool_pre_ping=True, hide_parameters=True, connect_args=_CONNECT)
    # SQLAlchemy has this off for this driver, for a fault of MySQL's (bug 117548): a backup would be in memory as a whole.
    engine.dialect.supports_server_side_cursors = True
    sa.event.listen(engine, "do_connect", _connect)
    sa.event.listen(engine, "handle_error", _discard_broken, retval=True)
    return engine


class _EncryptedConnection(MySQLConnection):
    """The driver's connection in pure Python. Before the login it ends where the server has no TLS: the driver would go on."""

    def _do_handshake(self) -> None:
        super()._do_handshake()
        if not self.isset_client_flag(ClientFlag.SSL):
            raise mysql.connector.InterfaceError("the server has no TLS, which every connection must use", errno=2026)


def _connect(_dialect: sa.Dialect, _record: object, _arguments: object, options: dict[str, Any]) -> MySQLConnection:
    """A connection. A time-out has the number of a server that is not there."""
    try:
        return _EncryptedConnection(**options)
    except ConnectionTimeoutError as error:
        address = f"{options['host']}:{options.get('port', 3306)}"
        message = f"Can't connect to MySQL server on '{address}' (no answer within {options['connection_timeout']} s)"
        raise mysql.connector.OperationalError(message, errno=2003) from error


def _discard_broken(context: sa.ExceptionContext) -> BaseException | None:
    """Use no connection again whose state is unknown: after a time-out, its late answer would pass for the next one's.

    An error of the server has an SQLSTATE. One without is the driver's: the network, a time-out, a protocol that is broken.
    A time-out is an OperationalError of one line; the driver's has four, and the number of a query that the server gave up.
    """
    error = context.original_exception
    if not isinstance(error, mysql.connector.Error) or (error.sqlstate is not None and error.errno not in _ENDED):
        return None
    context.is_disconnect = True
    if not isinstance(error, ReadTimeoutError | WriteTimeoutError):
        return None
    lost = mysql.connector.OperationalError(
        f"Lost connection to MySQL server (no answer within {_CONNECT['read_timeout']} s)", errno=2013
    )
    return sa.exc.OperationalError(context.statement, None, lost, hide_parameters=True, connection_invalidated=True)


def _wait_for_other_writers(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(_SQLITE_WAIT)
