from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from app.model import ArtifactError, load_serving
from app.pack import main, pack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path, artifact: Path) -> Path:
    """A data folder at version 3, model and all."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "version.txt").write_text("3\n")
    shutil.copytree(artifact, folder / "model")
    return folder


def test_what_is_packed_can_be_served_and_holds_no_rating_part(data: Path, tmp_path: Path) -> None:
    """Metadata and serving arrays, nothing else."""
    assert pack(data, tmp_path / "packed") == 3
    assert load_serving(tmp_path / "packed").version == 3
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == ["metadata.json", "serving"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda data: (data / "version.txt").write_text("8"), "holds version 3, and git names 8: run `dvc pull`"),
        (lambda data: (data / "version.txt").write_text("seven"), "'seven' is not the number of a version"),
        (lambda data: (data / "version.txt").unlink(), "version.txt"),
        (lambda data: (data / "model").rename(data / "gone"), "run `dvc pull` and build again"),
        (lambda data: (data / "model" / "serving" / "top.npy").write_bytes(b""), "top.npy"),
    ],
)
def test_what_is_not_the_named_version_whole_is_refused(
    data: Path, tmp_path: Path, break_it: Callable[[Path], object], message: str
) -> None:
    """With what to do; nothing is packed."""
    break_it(data)
    with pytest.raises(ArtifactError, match=message.replace("(", r"\(")):
        pack(data, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_the_command_says_what_it_packed_or_why_not(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0, 1 and 2, one line each."""
    assert main([str(data), str(tmp_path / "packed")]) == 0
    assert capsys.readouterr().out == "version 3 is packed\n"
    (data / "version.txt").write_text("8")
    assert main([str(data), str(tmp_path / "again")]) == 1
    assert capsys.readouterr().err.startswith("pack: ")
    assert main([]) == 2
    assert capsys.readouterr().err.count("\n") == 1
