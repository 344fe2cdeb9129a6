from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common import logs
from auto_deployment.scheduler.__main__ import command_of, main
from auto_deployment.scheduler.plan import FINISHED, NOT_RUN, QUIET, WORDS

if TYPE_CHECKING:
    from pathlib import Path


def test_an_error_that_nobody_foresaw_is_one_line_and_its_traceback_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, so that systemd starts it again."""
    monkeypatch.chdir(tmp_path)
    try:
        assert main([], command=[object()]) == 1  # type: ignore[list-item]
    finally:
        logs.shut()
    assert "the scheduler failed" in capsys.readouterr().err.splitlines()[-1]
    assert "Traceback" in (tmp_path / "logs" / "auto_deploy.log").read_text()


def test_a_wrong_argument_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and the usage on standard error."""
    with pytest.raises(SystemExit) as caught:
        main(["--nonsense"])
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_bad_setting_stops_the_start_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on standard error, exit status 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRAIN_DAYS", "0")
    assert main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("RETRAIN_DAYS: ")


def test_a_data_folder_that_cannot_be_made_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the setting, exit status 1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file" / "data"))
    assert main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "DATA_DIR" in line


def test_status_of_nothing_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says that nothing ever ran, and leaves no file behind."""
    monkeypatch.chdir(tmp_path)
    assert main(["--status"]) == 0
    assert "does not run" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_under_scripts_run_each_run_takes_the_code_and_packages_of_its_own_start() -> None:
    """The scheduler keeps what it began with; without scripts/run a run has the scheduler's Python."""
    command = command_of({"MOVIEREC_RUN": "/srv/movierec/scripts/run"})
    assert command == ("env", f"MOVIEREC_NOT_RUN_STATUS={NOT_RUN}", "/srv/movierec/scripts/run", "auto_deployment.auto_deploy")
    assert command_of({}) == (sys.executable, "-m", "auto_deployment.auto_deploy")


def test_a_run_whose_packages_are_missing_is_reported_by_the_scheduler() -> None:
    """No run began that could have sent a mail; it is over, and has words of its own."""
    assert NOT_RUN not in QUIET
    assert NOT_RUN in FINISHED
    assert "scripts/run --install" in WORDS[NOT_RUN]
