from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.check.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with version.txt, without the settings of this checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "data")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "version.txt").write_text("0\n")
    return tmp_path


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("what", ["data", "model"])
def test_before_the_first_version_there_is_nothing_to_check(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says so, and the status is 0."""
    assert main([what, "--pull"]) == 0
    assert capsys.readouterr().out == f"check {what}: git names no version yet: there is nothing to check\n"


def test_a_missing_file_is_one_line(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Git names a version, and its files were not fetched: status 3, and what to do."""
    (checkout / "data" / "version.txt").write_text("1\n")
    assert main(["model"]) == 3
    assert capsys.readouterr().err == "check model: missing: data/model; fetch it with --pull\n"


def test_a_version_that_is_no_number_fails(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1."""
    (checkout / "data" / "version.txt").write_text("one\n")
    assert main(["data"]) == 1
    assert "is not the number of a version" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["tables"], ["data", "--push"]])
def test_wrong_use(arguments: list[str]) -> None:
    """Status 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
