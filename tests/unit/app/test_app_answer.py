from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from app.answer import main
from app.model import load_serving
from app.recommender import Recommender
from app.routes import digest_of
from tests.unit.app import samples

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample artifact, as MODEL_DIR."""
    folder = samples.save(tmp_path / "model")
    monkeypatch.setenv("MODEL_DIR", str(folder))
    return folder


@pytest.mark.parametrize("user", [samples.FULL, samples.FEW, samples.SEEN_ALL, 0, 2**63 - 1])
def test_the_command_gives_what_the_service_gave(model: Path, capsys: pytest.CaptureFixture[str], user: int) -> None:
    """One line of JSON: body, step, digest, version, and which model it was."""
    assert main([str(user)]) == 0
    answer = Recommender(load_serving(model)).recommend(user)
    assert json.loads(capsys.readouterr().out) == {
        "version": samples.VERSION,
        "body": answer.body,
        "step": answer.step,
        "inputs": "",
        "digest": digest_of(answer.body),
        "model_md5": hashlib.md5((model / "metadata.json").read_bytes(), usedforsecurity=False).hexdigest(),
    }


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "use: "),
        (["-1"], 2, "use: "),
        (["9223372036854775808"], 2, "use: "),
        (["5", "", "more", "and more"], 2, "use: "),
        (["5", "", "more"], 1, "a source belongs to a computed list"),
        (["5", "seed=7"], 1, "the inputs 'seed=7' do not come from this"),
    ],
)
def test_what_it_cannot_compute_is_one_line(
    model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    """Wrong use, or inputs that these answers do not depend on."""
    assert model.exists()
    assert main(arguments) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(message)
    assert output.err.count("\n") == 1


def test_a_model_that_is_missing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1 and the folder's name."""
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert main(["5"]) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path}/metadata.json: ")
