from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import ServiceSettings, ShipperSettings, settings_problem

NEEDED = {"JOURNAL_DIR": "journals", "PROVENANCE_URL": "sqlite:///provenance.sqlite"}


def problem(kind: type[ServiceSettings | ShipperSettings]) -> str:
    """The message about the environment's settings."""
    with pytest.raises(ValidationError) as caught:
        kind()
    return settings_problem(caught.value)


def test_defaults_are_those_of_a_container() -> None:
    """An empty environment is enough for a service."""
    settings = ServiceSettings()
    assert settings.model_dir == Path("data/model")
    assert settings.bind == "0.0.0.0:5000"
    assert settings.track == "stable"
    assert settings.journal_dir is None
    assert settings.request_log
    assert settings.metrics


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE", "a/b"),
        ("SERVICE", "../x"),
        ("SERVICE", "x" * 65),
        ("SERVICE", " "),
        ("TRACK", "beta"),
        ("TRACK", "Stable"),
        ("BIND", "5000"),
        ("BIND", ":5000"),
        ("BIND", "127.0.0.1:"),
        ("BIND", "127.0.0.1:http"),
        ("METRICS_BIND", "127.0.0.1:65536"),
        ("METRICS_BIND", "127.0.0.1:²"),
        ("METRICS_BIND", "::1:9100"),
        ("METRICS_BIND", "[127.0.0.1]:9100"),
        ("METRICS_BIND", "[::1:9100"),
        ("BIND", "[]:5000"),
        ("WORKERS", "0"),
        ("WORKERS", "65"),
        ("WORKERS", "two"),
        ("WORKERS", "1.5"),
        ("JOURNAL_MAX_MB", "0"),
        ("JOURNAL_MAX_MB", "-1"),
        ("REQUEST_LOG", "perhaps"),
        ("METRICS", "2"),
    ],
)
def test_a_bad_setting_of_a_service_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """One line that begins with the variable's name, and names no other."""
    monkeypatch.setenv(name, value)
    message = problem(ServiceSettings)
    assert message.startswith(f"{name}: ")
    assert ";" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOURNAL_DIR", None),
        ("JOURNAL_DIR", ""),
        ("SHIP_BATCH", "0"),
        ("SHIP_BATCH", "100001"),
        ("SHIP_BATCH", "many"),
        ("SHIP_SECONDS", "0"),
        ("SHIP_SECONDS", "61"),
        ("SHIP_SECONDS", "nan"),
    ],
)
def test_a_bad_setting_of_the_shipper_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    """A setting that is missing, empty or out of bounds is named, and no other."""
    for each, text in {**NEEDED, name: value}.items():
        if text is not None:
            monkeypatch.setenv(each, text)
    message = problem(ShipperSettings)
    assert message.startswith(f"{name}: ")
    assert ";" not in message


def test_every_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bad values are named in one line, each by its variable."""
    monkeypatch.setenv("WORKERS", "none")
    monkeypatch.setenv("TRACK", "beta")
    first, second = problem(ServiceSettings).split("; ")
    assert first.startswith("TRACK: ")
    assert second.startswith("WORKERS: ")


def test_a_bad_value_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message about a setting never shows its value, which may be a secret."""
    monkeypatch.setenv("SHIP_SECONDS", "hunter2")
    assert "hunter2" not in problem(ShipperSettings)


@pytest.mark.parametrize("name", [name.upper() for name in ServiceSettings.model_fields])
def test_an_empty_setting_counts_as_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`NAME=` in an environment file leaves the default."""
    monkeypatch.setenv(name, "")
    assert ServiceSettings() == ServiceSettings.model_construct()


@pytest.mark.parametrize("name", ["SHIP_BATCH", "SHIP_SECONDS"])
def test_an_empty_setting_of_the_shipper_counts_as_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`NAME=` leaves the default where there is one."""
    for each, text in {**NEEDED, name: ""}.items():
        monkeypatch.setenv(each, text)
    assert (ShipperSettings().ship_batch, ShipperSettings().ship_seconds) == (2000, 0.5)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read by its name and becomes a value of its type."""
    expected = {
        "MODEL_DIR": "/model",
        "SERVICE": "canary",
        "TRACK": "canary",
        "BIND": "[::]:5000",
        "WORKERS": "4",
        "JOURNAL_DIR": "/journals",
        "REQUEST_LOG": "0",
        "METRICS": "false",
    }
    for name, value in expected.items():
        monkeypatch.setenv(name, value)
    settings = ServiceSettings()
    assert settings.model_dir == Path("/model")
    assert (settings.service, settings.track, settings.bind, settings.workers) == ("canary", "canary", "[::]:5000", 4)
    assert settings.journal_dir == Path("/journals")
    assert (settings.request_log, settings.metrics) == (False, False)


def test_settings_cannot_be_changed() -> None:
    """The settings of a service cannot be changed."""
    settings = ServiceSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.workers = 3  # type: ignore[misc]
