from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]  # has no types
from pydantic import TypeAdapter

from app.env_file import OF_IMAGES, REMOVED
from app.settings import SECRET_FILES, ConsoleSettings, FreshSettings, MigrateSettings, ServiceSettings, ShipperSettings
from app.stack.init import PASSWORDS
from app.wsgi import MIB, SEGMENT_BYTES
from auto_deployment.common.settings import Settings
from auto_deployment.ingestion.users.fetch import RUN_LIMITS
from auto_deployment.online_evaluation.watched_counts import WATCHED_MINUTES
from auto_deployment.release.analysis.comparison import Limits

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parents[2]
NO_DEFAULT = {"", "-", "unset"}
PAGE = ROOT / "docs" / "configuration.md"
READERS: dict[str, type[BaseSettings]] = {
    "host": Settings,
    "service": ServiceSettings,
    "shipper": ShipperSettings,
    "migrate": MigrateSettings,
    "console": ConsoleSettings,
    "fresh": FreshSettings,
}
SIDES = tuple(READERS.values())
FIELDS = {f"{side.__name__}-{name}": (name, field) for side in SIDES for name, field in side.model_fields.items()}


# What the release alone sets, for the slot of the canary.
RELEASE_ONLY = {"CANARY_TAG", "CANARY_TRACK"}


MOST_SETTINGS = 91
ALL = [pytest.param(*each, id=key) for key, each in FIELDS.items()]
SETTABLE = [pytest.param(*each, id=key) for key, each in FIELDS.items() if each[0].upper() not in OF_IMAGES]


def in_compose() -> dict[str, str]:
    """Names and defaults of what docker-compose.yml takes from the environment or `.env`: `${NAME:-default}`."""
    text = (ROOT / "docker-compose.yml").read_text()
    assert re.findall(r"\$\{(?![A-Z][A-Z0-9_]*:-)[^}]*\}", text) == [], "a variable without a default"
    defaults: dict[str, str] = {}
    for name, default in re.findall(r"\$\{([A-Z][A-Z0-9_]*):-([^}]*)\}", text):
        assert defaults.setdefault(name, default) == default, f"{name} has two defaults"
    return {name: default for name, default in defaults.items() if name not in RELEASE_ONLY}


def in_example() -> dict[str, str]:
    """Names and defaults of `.env.example`: lines `# NAME=default` or `NAME=default`."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    found = [match for line in lines if (match := re.fullmatch(r"(?:# ?)?([A-Z][A-Z0-9_]*)=(.*)", line)) is not None]
    assert len({match[1] for match in found}) == len(found), "a name stands there twice"
    return {match[1]: match[2] for match in found}


class Documented(NamedTuple):
    """A row of docs/configuration.md: the default, who reads the setting, and what it means."""

    default: str
    readers: frozenset[str]
    meaning: str


def in_docs() -> dict[str, Documented]:
    """The rows of docs/configuration.md by the setting's name: | `NAME` | default | reader, reader | meaning |."""
    settings: dict[str, Documented] = {}
    for row in PAGE.read_text().splitlines():
        found = re.fullmatch(r"\| `([A-Z][A-Z0-9_]*)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|", row)
        if found is not None:
            assert found[1] not in settings, f"{found[1]} stands there twice"
            settings[found[1]] = Documented(found[2].strip("`"), frozenset(found[3].split(", ")), found[4])
    return settings


def readers_of(name: str) -> set[str]:
    """Who reads a setting: the classes that have it, Compose, and the files of `app/stack` that name it."""
    readers = {reader for reader, side in READERS.items() if name.lower() in side.model_fields}
    stack = "".join(path.read_text() for path in (ROOT / "app" / "stack").glob("*.py"))
    named = {*re.findall(r'"([A-Z][A-Z0-9_]+)"', stack), *map(str.upper, SECRET_FILES.values())}
    return readers | ({"Compose"} if name in in_compose() else set()) | ({"init"} if name in named else set())


def same(field: FieldInfo, documented: str) -> bool:
    """Whether a documented default is the field's own, of its type; none where the field has none, or computes it."""
    default = None if field.is_required() or field.default_factory is not None else field.default
    if documented in NO_DEFAULT:
        return default is None
    return bool(TypeAdapter(field.annotation or str).validate_python(documented, strict=False) == default)


def test_variables_of_the_images_stand_in_a_table_of_their_own() -> None:
    """Host and `.env` do not set them: docker-compose.yml takes none of them from the environment."""
    table = PAGE.read_text().partition("## Variables of the images")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)) == OF_IMAGES
    assert OF_IMAGES.isdisjoint(in_compose())
    assert OF_IMAGES.isdisjoint(name.upper() for name in Settings.model_fields)


# Fields that docker-compose.yml leaves at their default, or takes from elsewhere: a file instead of a password, the inner port.
NOT_IN_COMPOSE = {
    "stable-1": {"MODEL_DIR", "TRACK_FILE", "BIND", "METRICS_BIND", "RUN_DIR", "METRICS"},
    "shipper": {"PROVENANCE_URL", "MYSQL_PORT", "MYSQL_PASSWORD", "SHIP_BATCH", "SHIP_SECONDS", "SHIP_END_SECONDS"},
    "migrate": {"MYSQL_PORT", "MIGRATE_SECONDS", "MODEL_DIR"},
    "console": {"PROVENANCE_URL", "MYSQL_PORT", "MYSQL_PASSWORD"},
}


@pytest.mark.parametrize(
    ("service", "side"),
    [
        ("stable-1", ServiceSettings),
        ("shipper", ShipperSettings),
        ("migrate", MigrateSettings),
        ("console", ConsoleSettings),
    ],
)
def test_a_setting_reaches_its_container(service: str, side: type[BaseSettings]) -> None:
    """By the container's environment: without a line there, a value in `.env` would have no effect."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    given = {*compose["services"][service]["environment"]}
    assert {name.upper() for name in side.model_fields} - given == NOT_IN_COMPOSE[service]


def test_settings_stay_few() -> None:
    """A new one takes the place of an old one that nobody changes."""
    assert len(in_example()) <= MOST_SETTINGS


def test_removed_settings_are_documented_with_the_value_that_is_fixed_now() -> None:
    """And with the version that removed them. No part of the software reads one."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d+\.\d+\.\d+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert {name: version for name, version, _ in rows} == REMOVED
    fixed = {
        "CANARY_MIN_WATCHED": Limits().min_watched,
        "CANARY_WATCHED_MINUTES": WATCHED_MINUTES,
        "JOURNAL_SEGMENT_MB": SEGMENT_BYTES / MIB,
        "USER_API_SECONDS": RUN_LIMITS.seconds,
        "USER_API_USERS": RUN_LIMITS.users,
    }
    assert {name: float(value.replace(",", "")) for name, _, value in rows} == fixed
    assert REMOVED.keys().isdisjoint({*in_example(), *in_compose()})
    assert REMOVED.keys().isdisjoint(name.upper() for side in SIDES for name in side.model_fields)


@pytest.mark.parametrize(("name", "field"), SETTABLE)
def test_a_setting_stands_in_the_example_with_its_default(name: str, field: FieldInfo) -> None:
    """By its environment variable's name, in `.env.example`."""
    example = in_example()
    assert name.upper() in example, f"{name.upper()} ({field.description}) is missing in .env.example"
    assert same(field, example[name.upper()]), f".env.example has another default of {name.upper()}"


@pytest.mark.parametrize(("name", "field"), ALL)
def test_a_setting_stands_in_the_docs_with_its_default(name: str, field: FieldInfo) -> None:
    """By its environment variable's name, in a table of docs/configuration.md."""
    docs = in_docs()
    assert name.upper() in docs, f"{name.upper()} ({field.description}) is missing in docs/configuration.md"
    assert same(field, docs[name.upper()].default), f"docs/configuration.md has another default of {name.upper()}"


def test_what_the_stack_takes_from_the_environment_is_documented_with_its_default() -> None:
    """In `.env.example` and in docs/configuration.md."""
    compose, docs = in_compose(), in_docs()
    assert {name: in_example().get(name) for name in compose} == compose
    assert {name: docs[name].default if name in docs else None for name in compose} == compose


def test_the_docs_name_exactly_the_readers_of_each_setting() -> None:
    """The settings classes that have it, Compose, and the stack's init."""
    assert {name: set(each.readers) for name, each in in_docs().items()} == {name: readers_of(name) for name in in_docs()}


def test_no_setting_is_documented_that_does_not_exist() -> None:
    """A setting that was renamed or deleted leaves the documents too; both documents have the same settings."""
    known = {name.upper() for side in SIDES for name in side.model_fields} | set(in_compose()) | set(PASSWORDS)
    assert set(in_docs()) == known
    assert set(in_example()) == known - OF_IMAGES


def test_every_documented_setting_has_a_meaning() -> None:
    """At least one whole sentence in the last column."""
    assert [name for name, each in in_docs().items() if not re.fullmatch(r".{15,}\.", each.meaning)] == []


@pytest.mark.parametrize("side", SIDES)
def test_every_setting_says_what_it_is(side: type[BaseSettings]) -> None:
    """In the description of its field."""
    assert [name for name, field in side.model_fields.items() if not field.description] == []
