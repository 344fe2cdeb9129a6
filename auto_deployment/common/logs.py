"""One logging configuration for every command of the host side: the console and a rotating file, the run's id on every line.

No line shows a secret: see `Redactor`. Several processes write the file at once, the scheduler and its runs; any may rotate it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextlib import suppress
from datetime import datetime
from logging.handlers import RotatingFileHandler
from re import Match, escape
from re import compile as pattern_of
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote, urlsplit

from pydantic import SecretStr

from auto_deployment.common.lock import acquire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import TextIOWrapper
    from pathlib import Path

    from pydantic_settings import BaseSettings

log = logging.getLogger(__name__)

FILE = "auto_deploy.log"
MAX_BYTES = 10 * 1024 * 1024
MAX_SECONDS = 24 * 3600.0
KEPT = 14
MASK = "***"
SHORTEST_PART = 6
# By logger. Some libraries log much at INFO that nobody needs.
LEVELS = {"": logging.INFO, "auto_deployment": logging.DEBUG, "kafka": logging.WARNING, "urllib3": logging.WARNING}
UNSET = {"": logging.WARNING}
_USERINFO = pattern_of(r"(?<=://)[^\s/?#'\"]*@")
_CONTROL = pattern_of(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def secrets_of(settings: BaseSettings) -> list[str]:
    """The values of all settings that are secrets and set."""
    return [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]


class Redactor:
    """Masks secrets in a text, in any form that a message or a traceback may give them, and the userinfo of every URL."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if form}
        self._pattern = pattern_of("|".join(escape(form) for form in sorted(forms, key=len, reverse=True)) or r"(?!)")

    def __call__(self, text: str) -> str:
        """The text without them."""
        return _USERINFO.sub(f"{MASK}@", self._pattern.sub(MASK, text))


def _forms(secret: str) -> Iterator[str]:
    yield from (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1])
    with suppress(ValueError):
        url = urlsplit(secret)
        yield from (url.password or "", unquote(url.password or ""))
        # An error about an unreachable page shows the path alone, and the path is the secret of a webhook.
        if url.scheme in {"http", "https"}:
            parts = (url.path, url.path.rpartition("/")[2], url.query)
            yield from (part for part in parts if len(part) >= SHORTEST_PART)


class _Lines(logging.Formatter):
    """A record as lines that each begin with time (UTC), level, run id and logger."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, run_id: str, redact: Redactor) -> None:
        super().__init__()
        self._run_id = run_id
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        head = f"{self.formatTime(record)} {record.levelname:<8}{self._run_id} {record.name}: "
        # Text from outside must not begin a line of its own, or control a terminal.
        return "\n".join(head + _CONTROL.sub(_shown, line) for line in self.lines(self._redact(self.body(record))))

    def body(self, record: logging.LogRecord) -> str:
        """The message, with its traceback."""
        parts = [record.getMessage()]
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
        return "\n".join(parts)

    def lines(self, text: str) -> list[str]:
        """A masked text, line by line."""
        return text.splitlines() or [""]


class _OneLine(_Lines):
    """A record as one line, without a traceback."""

    def body(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        return record.getMessage() + (f": {type(error).__name__}: {error}" if error else "")

    def lines(self, text: str) -> list[str]:
        """All of it in one."""
        return [" ".join(text.split())]


def _shown(match: Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


class RotatingLog(RotatingFileHandler):
    """A log file that rolls at a size or at an age, whichever comes first. Several processes may write it.

    The age counts from the file's first line, so that a process which lives for a minute rolls it as well.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS, kept: int = KEPT) -> None:
        """Raises OSError where `path` cannot be written."""
        self._begun: float | None = None
        self._max_seconds = max_seconds
        self._failed = False
        super().__init__(path, maxBytes=max_bytes, backupCount=kept, encoding="utf-8", errors="backslashreplace")

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - logging's name
        """Whether the file is too old, or would be too large with this record."""
        size = os.fstat(self._follow().fileno()).st_size
        if not size:
            self._begun = record.created
            return False
        if self._begun is None:
            self._begun = _first_time(self.baseFilename)
        # A first line from far in the future was written before the clock was set back.
        too_old = abs(record.created - self._begun) >= self._max_seconds
        return too_old or size + len(self.format(record).encode(errors="replace")) >= self.maxBytes

    def doRollover(self) -> None:  # noqa: N802 - logging's name
        """Rename the files, unless another process has just done so. If a rename fails, the file keeps growing."""
        held = os.dup(self._follow().fileno())
        try:
            acquire(held, wait=True)
            if self._is_current(held):
                super().doRollover()
        except OSError as error:
            self._report_once(error, "cannot be rotated, and grows on")
        finally:
            os.close(held)
        self._follow()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Report once that lines are lost. The default handler would print the record with its arguments, secrets included."""
        del record
        # The console reports a line that cannot be formatted.
        if isinstance(error := sys.exc_info()[1], OSError):
            self._report_once(error, "lines are lost here")

    def _report_once(self, error: OSError, what: str) -> None:
        if not self._failed:
            self._failed = True
            with suppress(OSError, ValueError):
                sys.stderr.write(f"log: {self.baseFilename}: {error.strerror}: {what}\n")

    def _open(self) -> TextIOWrapper:
        self._begun = None
        return super()._open()

    def _follow(self) -> TextIOWrapper:
        """Open the file that has the name now: another process may have rotated the log, or somebody may have removed it."""
        if self.stream is not None and not self._is_current(self.stream.fileno()):
            gone, self.stream = self.stream, None
            with suppress(OSError):
                gone.close()
        if self.stream is None:
            self.stream = self._open()
        return self.stream

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.baseFilename))  # noqa: PTH116 - logging has a string
        except FileNotFoundError:
            return False


def _first_time(path: str) -> float:
    """The time of the file's first line, in seconds since 1970; the file's last change where that line has no time."""
    with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - logging has it as a string
        first = file.readline(64)
        try:
            return datetime.fromisoformat(first.partition(" ")[0]).timestamp()
        except ValueError:
            return os.fstat(file.fileno()).st_mtime


class _Console(logging.Handler):
    """Standard error at the time of each line, because a progress bar replaces it. A closed standard error is no failure."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a wrong format raises anything, and costs its line only
            line = f"log: a line could not be made: {type(error).__name__}"
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def configure(log_dir: Path, run_id: str, console_level: int = logging.INFO, secrets: Iterable[str] = ()) -> None:
    """Log to standard error from `console_level` on, and everything of ours to `log_dir/auto_deploy.log`, masking `secrets`.

    A folder that cannot be written is reported once, and only the console is used then. A second call replaces the first.
    """
    shut()
    redact = Redactor(secrets)
    console = _Console()
    console.setLevel(console_level)
    _add(console, _OneLine(run_id, redact))
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        _add(RotatingLog(log_dir / FILE), _Lines(run_id, redact))
    except OSError as error:
        log.warning("LOG_DIR (%s) cannot be written (%s): this console is the only log", log_dir, error.strerror)


def shut() -> None:
    """Undo `configure`, and close the file."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, RotatingLog | _Console)]:
        root.removeHandler(handler)
        with suppress(OSError):
            handler.close()
    for name in LEVELS:
        logging.getLogger(name).setLevel(UNSET.get(name, logging.NOTSET))


def _add(handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    logging.getLogger().addHandler(handler)
