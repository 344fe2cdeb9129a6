"""Connections to the database: the URL, the secrets in files, and the settings of every connection."""

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
logging.getLogger("mysql.connector").setLevel(logging.WARNING)  # it logs its plugins at every connect

_DRIVER, _FORMER_DRIVER = "mysql+mysqlconnector", "mysql+pymysql"
_URL_OPTIONS = ("charset", "collation")  # all other options are the same for every connection, see below
_FORMS = f"give {_DRIVER}://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///FILE"
_SQLITE_WAIT = "PRAGMA busy_timeout=5000"
_CONNECT = {
    # TLS, without a check of the certificate: the server signs its own.
    "ssl_disabled": False,
    "ssl_verify_cert": False,
    "ssl_verify_identity": False,
    "connection_timeout": 5,
    "read_timeout": 60,
    "write_timeout": 60,
    # Strict mode: otherwise MySQL cuts a value that does not fit, and stores it. The tables hold UTC.
    "init_command": "SET SESSION sql_mode = 'TRADITIONAL', time_zone = '+00:00'",
    "client_flags": (ClientFlag.get_default() | ClientFlag.FOUND_ROWS) & ~ClientFlag.MULTI_STATEMENTS,
    "buffered": False,  # a buffer would prevent streaming; SQLAlchemy asks for one if needed
}
# The server ended the connection: it shuts down, an operator killed the connection, or the connection was idle for too long.
_ENDED = (1053, 1927, 3169, 4031)


class SecretError(Exception):
    """A secret's file is unreadable or empty; the text names the file and says what to do."""


def read_secret(path: Path) -> str:
    """The secret in a file, without the line's end. Raises SecretError if the file is unreadable or empty."""
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SecretError(f"{path}: the secret cannot be read ({reason}): repair or remove the file") from error
    if not secret:
        raise SecretError(f"{path}: the file is empty, but should hold a secret: write the secret, or remove the file")
    return secret


def mysql_url(host: str, port: int, database: str | None, user: str, password: str) -> str:
    """The database as a SQLAlchemy URL with the password."""
    url = sa.URL.create(_DRIVER, user, password, host, port, database)
    return url.render_as_string(hide_password=False)


def checked_url(setting: SecretStr) -> SecretStr:
    """The database's URL, checked without a connection. A URL of PyMySQL, the former driver, is changed to today's driver.

    Raises ValueError if the URL cannot name a database. The text of the error has no part of the URL.
    """
    try:
        url = sa.make_url(setting.get_secret_value())
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ValueError(f"is not a URL: {_FORMS}") from error
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if url.host is not None:
            raise ValueError(f"SQLite has no host: {_FORMS}")
        return setting
    if url.drivername not in (_DRIVER, _FORMER_DRIVER):
        raise ValueError(f"names an unsupported database or driver: {_FORMS}")
    if not (url.host and url.database):
        raise ValueError(f"lacks the host or the database: {_FORMS}")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError(f"its port is invalid: {_FORMS}")
    others = tuple(sorted(set(url.query) - set(_URL_OPTIONS)))
    if url.drivername == _FORMER_DRIVER:
        _warn_of_former_driver(others)
        url = url.set(drivername=_DRIVER).difference_update_query(others)
        return SecretStr(url.render_as_string(hide_password=False))
    if others:
        raise ValueError(f"its options can only be {', '.join(_URL_OPTIONS)}: remove the others after the ?")
    return setting


@functools.cache
def _warn_of_former_driver(ignored: tuple[str, ...]) -> None:
    """Warn once in a process, however often it reads its settings."""
    without = f", without its options {', '.join(ignored)}" if ignored else ""
    log.warning("PROVENANCE_URL: %s is the former driver; the URL is used as %s%s: change it", _FORMER_DRIVER, _DRIVER, without)


def error_number(error: BaseException) -> int | None:
    """MySQL's number of an error, such as 1045 for a refused login. None if the error has no number, as in SQLite."""
    cause = getattr(error, "orig", None) or error
    number = cause.args[0] if cause.args else None
    return number if isinstance(number, int) and number > 0 else None


def open_engine(url: str, seconds: int | None = None) -> sa.Engine:
    """The engine of a URL, without a connection yet. Its errors show no parameters, which are users and secrets.

    `seconds` limits a connect and each answer of MySQL; None: 5 seconds, and 60.
    """
    if sa.make_url(url).get_backend_name() != "mysql":
        engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
        sa.event.listen(engine, "connect", _wait_for_other_writers)
        return engine
    # Parameters by position: the driver needs a tenth less time for a row than by name.
    limits = {} if seconds is None else dict.fromkeys(("connection_timeout", "read_timeout", "write_timeout"), seconds)
    arguments = {**_CONNECT, **limits}
    engine = sa.create_engine(url, paramstyle="format", pool_pre_ping=True, hide_parameters=True, connect_args=arguments)
    # SQLAlchemy switches this off because of MySQL's bug 117548. Then a whole backup would be in memory.
    engine.dialect.supports_server_side_cursors = True
    sa.event.listen(engine, "do_connect", _connect)
    sa.event.listen(engine, "handle_error", _discard_broken, retval=True)
    return engine


class _EncryptedConnection(MySQLConnection):
    """The driver's connection in pure Python. If the server has no TLS, it ends before the login; the driver would log in."""

    def _do_handshake(self) -> None:
        super()._do_handshake()
        if not self.isset_client_flag(ClientFlag.SSL):
            raise mysql.connector.InterfaceError("the server has no TLS, which every connection must use", errno=2026)


def _connect(_dialect: sa.Dialect, _record: object, _arguments: object, options: dict[str, Any]) -> MySQLConnection:
    """Open a connection. A time-out raises the same error number as an absent server."""
    try:
        return _EncryptedConnection(**options)
    except ConnectionTimeoutError as error:
        address = f"{options['host']}:{options.get('port', 3306)}"
        message = f"Can't connect to MySQL server on '{address}' (no answer within {options['connection_timeout']} s)"
        raise mysql.connector.OperationalError(message, errno=2003) from error


def _discard_broken(context: sa.ExceptionContext) -> BaseException | None:
    """Discard a connection in an unknown state: after a time-out, the late answer could be taken for the next query's.

    An error of the server has an SQLSTATE. An error without one comes from the driver: the network, a time-out or a broken
    protocol. A time-out becomes an OperationalError with one line; the driver's own has four lines and a misleading number.
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
