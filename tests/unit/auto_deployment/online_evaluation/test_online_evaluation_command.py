from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from auto_deployment.online_evaluation.__main__ import main
from tests.unit.auto_deployment.online_evaluation.viewers import Scene

if TYPE_CHECKING:
    from pathlib import Path

LIST = ("a+1999", "b+1999")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A folder in which the command finds its settings."""
    monkeypatch.chdir(tmp_path)
    scene = Scene(tmp_path)
    monkeypatch.setenv("TELEMETRY_DIR", str(tmp_path / "telemetry"))
    monkeypatch.setenv("PROVENANCE_URL", scene.url)
    return scene


def happened(scene: Scene) -> None:
    """Ten answers of the day before yesterday, of which three were watched."""
    begun = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(hours=48)
    for user in range(10):
        scene.answer(user, begun, LIST)
    for user in range(3):
        scene.begin(user, "a+1999", begun + timedelta(hours=1))
    scene.begin(999, "z+1999", begun + timedelta(hours=47))
    scene.collect()


def test_it_prints_a_table(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """And ends with 0."""
    happened(scene)
    assert main([]) == 0
    assert ["6", "stable", "10", "10", "30.00%"] in [line.split()[:5] for line in capsys.readouterr().out.splitlines()]


def test_it_prints_json(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """The same metrics for programs."""
    happened(scene)
    assert main(["--json", "--days", "3"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["requests"], content["judged"], content["matched"], content["hours"]) == (10, 10, 10, 24.0)
    (group,) = content["groups"]
    assert group["watched"]["low"] < 0.3 < group["watched"]["high"]


@pytest.mark.usefixtures("scene")
def test_nothing_collected_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The output says that nothing was collected."""
    assert main([]) == 0
    assert "nothing was collected yet" in capsys.readouterr().out


@pytest.mark.parametrize("days", ["0", "-1", "x"])
def test_days_are_at_least_one(days: str) -> None:
    """Wrong use is status 2."""
    with pytest.raises(SystemExit) as ended:
        main(["--days", days])
    assert ended.value.code == 2


def test_what_cannot_be_read_is_one_line(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Which file, and what to do; status 1."""
    happened(scene)
    next((scene.folder / "telemetry").rglob("*.parquet")).write_bytes(b"not a file of that kind")
    assert main([]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("telemetry: ")
    assert errors.count("\n") == 1
    assert ".parquet" in errors
