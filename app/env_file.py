"""Reads the file `.env` strictly: nobody notices a setting that is dropped silently until it matters."""

from __future__ import annotations

import io
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from dotenv import dotenv_values
from dotenv.parser import parse_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Other programs read names with these prefixes from the same file.
SHARED_PREFIXES = frozenset({"COMPOSE", "DOCKER", "DVC", "GIT", "SPARK"})
# From this similarity on, a name counts as a misspelt setting.
SIMILAR = 0.85
# Settings that no longer exist, with the version of the software that removed them. Their values are fixed now.
REMOVED = {
    "CANARY_MIN_WATCHED": "1.1.0",
    "CANARY_WATCHED_MINUTES": "1.1.0",
    "JOURNAL_SEGMENT_MB": "1.1.0",
    "USER_API_SECONDS": "1.1.0",
    "USER_API_USERS": "1.1.0",
}
# The image, docker-compose.yml, the demo or a test sets these in the environment of a container. In `.env` they have no effect.
OF_IMAGES = frozenset(
    {
        *("MODEL_DIR", "SERVICE", "TRACK", "TRACK_FILE", "BIND", "METRICS_BIND", "RUN_DIR", "JOURNAL_DIR", "METRICS"),
        *("SHIP_BATCH", "SHIP_SECONDS", "SHIP_END_SECONDS", "HEARTBEAT_FILE", "SHIPPER_METRICS_BIND"),
        *("MYSQL_ROOT_PASSWORD_FILE", "SERVICE_PASSWORD_FILE", "HOST_PASSWORD_FILE", "CONSOLE_PASSWORD_FILE"),
        *("FRESH_DIR", "FOLLOW_FILE", "FOLLOW_FROM", "CHECKPOINT_SECONDS", "KAFKA_SECRETS_DIR"),
        *("MIGRATE_SECONDS", "METRICS_URL", "RELEASE_DIR", "VERSIONS_DIR", "CONSOLE_DIR"),
    }
)


class EnvFileError(Exception):
    """The file cannot be read; the text begins with its name and the line."""


def read_env_file(path: Path) -> dict[str, str]:
    """The values of an `.env` file by name; empty if there is no such file. Raises EnvFileError, whose text shows no value."""
    if not path.is_file():
        return {}
    text = _read_utf8(path)
    if wrong := list(_wrong_lines(text)):
        lines = f"line{'s' * (len(wrong) > 1)} {', '.join(map(str, wrong))}"
        raise EnvFileError(f"{path.name}: {lines} cannot be read: write NAME=value, and close each quote that you open")
    return {name: value or "" for name, value in dotenv_values(stream=io.StringIO(text)).items()}


def unknown_names(path: Path, names: Iterable[str]) -> str:
    """A warning about names in an `.env` file that look like settings but are none; empty if there are no such names.

    The settings are those of `.env.example` in the same folder. A name looks like a setting if it has the prefix of one, or
    differs from one by a letter or two.
    """
    example = path.with_name(".env.example")
    known = re.findall(r"^(?:# ?)?([A-Z][A-Z0-9_]*)=", example.read_text("utf-8"), re.MULTILINE) if example.is_file() else []
    no_settings = {*REMOVED, *OF_IMAGES}
    prefixes = {name.partition("_")[0] for name in (*known, *no_settings) if "_" in name} - SHARED_PREFIXES
    found = []
    for name in names:
        prefix, separator, _ = name.upper().partition("_")
        resembles = (separator and prefix in prefixes) or get_close_matches(name.upper(), known, 1, SIMILAR)
        if resembles and name.upper() not in {*known, *no_settings}:
            nearest = get_close_matches(name.upper(), known, 1)
            found.append(name + "".join(f" (did you mean {each}?)" for each in nearest))
    return f"{path.name}: unknown setting, without effect: {'; '.join(found)}" if found else ""


def ignored_names(in_file: Iterable[str], in_environment: Iterable[str] = ()) -> str:
    """A warning about removed settings, and about variables of images in `.env`. Empty if there are none."""
    file, environment = ({name.upper() for name in names} for names in (in_file, in_environment))
    found = sorted((REMOVED.keys() & (file | environment)) | (OF_IMAGES & file))
    return f"no setting, without effect: {', '.join(found)}: remove it, see docs/configuration.md" if found else ""


def _read_utf8(path: Path) -> str:
    """The file's text, with newlines as the only line ends. Raises EnvFileError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EnvFileError(f"{path.name}: {error.strerror}: make it readable for the user who runs this command") from error
    try:
        text = content.decode("utf-8-sig")
        # UTF-16 without a mark is valid UTF-8, with a zero for every other byte.
        end = text.find("\0")
    except UnicodeDecodeError as error:
        text, end = content[: error.start].decode("utf-8-sig"), error.start
    if end >= 0:
        line = len(_with_newlines(text[:end]).split("\n"))
        raise EnvFileError(f"{path.name}: line {line} is not UTF-8: save the file as UTF-8")
    return _with_newlines(text)


def _with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _wrong_lines(text: str) -> Iterator[int]:
    """The numbers of the lines that are no setting, no comment and not blank."""
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            string = binding.original.string
            blank = string[: len(string) - len(string.lstrip())]
            yield binding.original.line + blank.count("\n")
