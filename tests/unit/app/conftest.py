"""What the tests of the serving side share: an artifact, no settings from outside, properties tried without a clock."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from app.settings import ServiceSettings, ShipperSettings
from tests.unit.app import samples

# Tools keep what they remember in .cache; a busy machine is no failure.
set_hypothesis_home_dir(Path(__file__).parents[3] / ".cache" / "hypothesis")
settings.register_profile("app", deadline=None)
settings.load_profile("app")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the caller's environment reaches a test."""
    for name in {**ServiceSettings.model_fields, **ShipperSettings.model_fields}:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """The folder of a sound artifact."""
    return samples.save(tmp_path / "model")
