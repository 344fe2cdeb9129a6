from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from pydantic import TypeAdapter

from app.settings import MigrateSettings, ServiceSettings, ShipperSettings
from app.stack.init import PASSWORDS
from auto_deployment.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parents[2]
NONE_TOLD = {"", "-", "unset"}
PAGE = ROOT / "docs" / "configuration.md"
READERS: dict[str, type[BaseSettings]] = {
    "host": Settings,
    "service": ServiceSettings,
    "shipper": ShipperSettings,
    "migrate": MigrateSettings,
}
SIDES = tuple(READERS.values())
FIELDS = [
    pytest.param(name, field, id=f"{side.__name__}-{name}") for side in SIDES for name, field in side.model_fields.items()
]


# What the release alone sets, for the slot of the canary.
RELEASE_ONLY = {"CANARY_TAG", "CANARY_TRACK"}


def in_compose() -> dict[str, str]:
    """Names and defaults of what docker-compose.yml takes from the environment or `.env`: `${NAME:-default}`."""
    text = (ROOT / "docker-compose.yml").read_text()
    assert re.findall(r"\$\{(?![A-Z][A-Z0-9_]*:-)[^}]*\}", text) == [], "a variable without a default"
    told: dict[str, str] = {}
    for name, default in re.findall(r"\$\{([A-Z][A-Z0-9_]*):-([^}]*)\}", text):
        assert told.setdefault(name, default) == default, f"{name} has two defaults"
    return {name: default for name, default in told.items() if name not in RELEASE_ONLY}


def in_example() -> dict[str, str]:
    """Names and defaults of `.env.example`: lines `# NAME=default` or `NAME=default`."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    found = [told for line in lines if (told := re.fullmatch(r"(?:# ?)?([A-Z][A-Z0-9_]*)=(.*)", line)) is not None]
    assert len({told[1] for told in found}) == len(found), "a name stands there twice"
    return {told[1]: told[2] for told in found}


class Told(NamedTuple):
    """A row of docs/configuration.md: the default, who reads the setting, and what it means."""

    default: str
    readers: frozenset[str]
    meaning: str


def in_docs() -> dict[str, Told]:
    """The rows of docs/configuration.md by the setting's name: | `NAME` | default | reader, reader | meaning |."""
    told: dict[str, Told] = {}
    for row in PAGE.read_text().splitlines():
        found = re.fullmatch(r"\| `([A-Z][A-Z0-9_]*)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|", row)
        if found is not None:
            assert found[1] not in told, f"{found[1]} stands there twice"
            told[found[1]] = Told(found[2].strip("`"), frozenset(found[3].split(", ")), found[4])
    return told


def readers_of(name: str) -> set[str]:
    """Who reads a setting: the classes that have it, Compose, and the files of `app/stack` that name it."""
    readers = {reader for reader, side in READERS.items() if name.lower() in side.model_fields}
    stack = "".join(path.read_text() for path in (ROOT / "app" / "stack").glob("*.py"))
    named = {*re.findall(r'"([A-Z][A-Z0-9_]+)"', stack)}
    return readers | ({"Compose"} if name in in_compose() else set()) | ({"init"} if name in named else set())


def same(field: FieldInfo, told: str) -> bool:
    """Whether a default that is told is the field's own, of its type; none where it has none."""
    default = None if field.is_required() else field.default
    if told in NONE_TOLD:
        return default is None
    return bool(TypeAdapter(field.annotation or str).validate_python(told, strict=False) == default)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_setting_stands_in_the_example_with_its_default(name: str, field: FieldInfo) -> None:
    """By its environment variable's name, in `.env.example`."""
    told = in_example()
    assert name.upper() in told, f"{name.upper()} ({field.description}) is missing in .env.example"
    assert same(field, told[name.upper()]), f".env.example tells another default of {name.upper()}"


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_setting_stands_in_the_docs_with_its_default(name: str, field: FieldInfo) -> None:
    """By its environment variable's name, in a table of docs/configuration.md."""
    told = in_docs()
    assert name.upper() in told, f"{name.upper()} ({field.description}) is missing in docs/configuration.md"
    assert same(field, told[name.upper()].default), f"docs/configuration.md has another default of {name.upper()}"


def test_what_the_stack_takes_from_the_environment_is_documented_with_its_default() -> None:
    """In `.env.example` and in docs/configuration.md."""
    compose, docs = in_compose(), in_docs()
    assert {name: in_example().get(name) for name in compose} == compose
    assert {name: docs[name].default if name in docs else None for name in compose} == compose


def test_the_docs_name_exactly_the_readers_of_each_setting() -> None:
    """The settings classes that have it, Compose, and the stack's init."""
    assert {name: set(told.readers) for name, told in in_docs().items()} == {name: readers_of(name) for name in in_docs()}


def test_no_setting_is_documented_that_does_not_exist() -> None:
    """A setting that was renamed or deleted leaves the documents too; both documents have the same settings."""
    known = {name.upper() for side in SIDES for name in side.model_fields} | set(in_compose()) | set(PASSWORDS)
    assert set(in_docs()) == known
    assert set(in_example()) == known


def test_every_documented_setting_has_a_meaning() -> None:
    """At least one whole sentence in the last column."""
    assert [name for name, told in in_docs().items() if not re.fullmatch(r".{15,}\.", told.meaning)] == []


@pytest.mark.parametrize("side", SIDES)
def test_every_setting_says_what_it_is(side: type[BaseSettings]) -> None:
    """A description beside its default."""
    assert [name for name, field in side.model_fields.items() if not field.description] == []
