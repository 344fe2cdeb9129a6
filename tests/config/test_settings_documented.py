from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

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
SIDES: tuple[type[BaseSettings], ...] = (Settings, ServiceSettings, ShipperSettings, MigrateSettings)
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


def in_readme() -> dict[str, str]:
    """Names and defaults of the README's table of settings: rows that begin with | `NAME` or | `NAME`, `NAME`."""
    text = (ROOT / "README.md").read_text()
    section = re.search(r"^(#+) Settings\n(.*?)(?=^#{1,2} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section is not None, "README.md has no section Settings"
    told: dict[str, str] = {}
    for row in section[2].splitlines():
        if row.startswith("| `"):
            names, values = (cell.strip() for cell in row.split("|")[1:3])
            defaults = [value.strip().strip("`") for value in values.split(",")]
            names_told = re.findall(r"`([A-Z][A-Z0-9_]*)`", names)
            defaults *= len(names_told) if defaults == [""] else 1
            told.update(zip(names_told, defaults, strict=True))
    return told


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
def test_a_setting_stands_in_the_readme_with_its_default(name: str, field: FieldInfo) -> None:
    """By its environment variable's name, in the table of the section Settings."""
    told = in_readme()
    assert name.upper() in told, f"{name.upper()} ({field.description}) is missing in README.md, section Settings"
    assert same(field, told[name.upper()]), f"README.md tells another default of {name.upper()}"


def test_what_the_stack_takes_from_the_environment_is_documented_with_its_default() -> None:
    """In `.env.example` and in the README's table."""
    told = in_compose()
    assert {name: in_example().get(name) for name in told} == told
    assert {name: in_readme().get(name) for name in told} == told


def test_no_setting_is_told_that_there_is_none_of() -> None:
    """What was renamed or taken out goes from the documents too; both tell of the same settings."""
    known = {name.upper() for side in SIDES for name in side.model_fields} | set(in_compose()) | set(PASSWORDS)
    assert set(in_readme()) - known == set()
    assert set(in_example()) - known == set()


@pytest.mark.parametrize("side", SIDES)
def test_every_setting_says_what_it_is(side: type[BaseSettings]) -> None:
    """A description beside its default."""
    assert [name for name, field in side.model_fields.items() if not field.description] == []
