"""The files that the host side writes: releases, reports of versions, explained answers, and settings."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from app.console.problems import ProblemError

if TYPE_CHECKING:
    from pathlib import Path

STATE = "state.json"
REPORT = re.compile(r"report_([0-9]{1,9})\.json")
# A release's folder, and the id of an answer.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SETTINGS = "settings.json"
FILES_KEPT = 500
MOST_BYTES = 16 << 20


class HostFiles:
    """Folders that are mounted read-only. Every method raises ProblemError where a file cannot be read."""

    def __init__(self, releases: Path | None, versions: Path | None, published: Path | None) -> None:
        self._releases = releases
        self._versions = versions
        self._published = published

    def release_state(self) -> dict[str, Any] | None:
        """What is in service, what is under way and how releases ended; None before the first release."""
        return self._json(_folder(self._releases, "RELEASE_DIR") / STATE)

    def of_release(self, folder: str, name: str) -> dict[str, Any] | None:
        """A file of one release; None where it has none."""
        if not NAME.fullmatch(folder):
            return None
        return self._json(_folder(self._releases, "RELEASE_DIR") / folder / name)

    def events(self, folder: str) -> list[dict[str, Any]]:
        """The events of one release, oldest first."""
        if not NAME.fullmatch(folder):
            return []
        try:
            text = (_folder(self._releases, "RELEASE_DIR") / folder / "events.jsonl").read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines()]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise _unreadable(folder, error) from error

    def version_numbers(self) -> list[int]:
        """The versions that have a report, newest first."""
        folder = _folder(self._versions, "VERSIONS_DIR")
        try:
            found = [REPORT.fullmatch(path.name) for path in folder.iterdir()]
        except OSError as error:
            raise _unreadable(str(folder), error) from error
        return sorted((int(each[1]) for each in found if each), reverse=True)

    def report(self, version: int) -> dict[str, Any] | None:
        """The report of a version; None where it has none."""
        return self._json(_folder(self._versions, "VERSIONS_DIR") / f"report_{version}.json")

    def why(self, answer: str) -> dict[str, Any] | None:
        """The chain behind an answer; None where nobody has asked for it yet."""
        if not NAME.fullmatch(answer):
            return None
        return self._json(_folder(self._published, "CONSOLE_DIR") / "why" / f"{answer}.json")

    def settings(self) -> dict[str, Any] | None:
        """The settings in force on the host side, secrets masked; None where no run has written them."""
        return self._json(_folder(self._published, "CONSOLE_DIR") / SETTINGS)

    def _json(self, path: Path) -> dict[str, Any] | None:
        """A JSON object, None where there is no file. It is read again only where the file has changed."""
        try:
            status = path.stat()
            return _read(path, status.st_mtime_ns, status.st_ino, status.st_size)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise _unreadable(path.name, error) from error


@lru_cache(FILES_KEPT)
def _read(path: Path, _changed: int, _number: int, size: int) -> dict[str, Any]:
    if size > MOST_BYTES:
        raise ValueError(f"{size:,} bytes are too many")
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise TypeError("it holds no object")
    return value


def _folder(path: Path | None, setting: str) -> Path:
    if path is None:
        raise ProblemError(f"{setting} is not set, so this part is not shown", f"set {setting} for the console")
    return path


def _unreadable(what: str, error: Exception) -> ProblemError:
    reason = getattr(error, "strerror", None) or error
    return ProblemError(f"{what} cannot be read ({reason})", "chmod -R a+rX .stack data/versioning logs/console")
