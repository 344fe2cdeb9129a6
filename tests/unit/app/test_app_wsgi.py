from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from app import journal, wsgi
from app.fresh.overlay import RECENT, UNRATED, Record, Status, folder_of, pack, write, write_status
from app.model import load_serving
from app.recommender import Recommender
from app.settings import ServiceSettings
from tests.unit.app import samples
from tests.unit.app.fresh.versions import facts, save_fresh

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def environment(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound artifact; no metrics, whose files would need a folder before anything is imported."""
    monkeypatch.setenv("MODEL_DIR", str(artifact))
    monkeypatch.setenv("METRICS", "0")


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a failed start."""
    with pytest.raises(SystemExit) as ended:
        wsgi.main()
    assert ended.value.code == wsgi.APP_LOAD_ERROR
    message = capsys.readouterr().err
    assert message.endswith("\n")
    assert message.count("\n") == 1
    return message


def test_the_application_answers_from_the_artifact(caplog: pytest.LogCaptureFixture) -> None:
    """The artifact of the environment is served. A warning says that nothing is journalled."""
    response = wsgi.main().test_client().get(f"/recommend/{samples.FEW}")
    assert response.text == ",".join(samples.FILMS[49:44:-1])
    assert response.headers["X-Model-Version"] == str(samples.VERSION)
    assert "JOURNAL_DIR is not set: answers are not journalled" in caplog.text


def test_answers_are_journalled_in_a_folder_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With JOURNAL_DIR each answer is a line in the service's own folder."""
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path / "journals"))
    monkeypatch.setenv("SERVICE", "stable-2")
    app = wsgi.main()
    client = app.test_client()
    response = client.get("/recommend/1")
    (path,) = (tmp_path / "journals" / "stable-2").glob("*.tsv")
    row = journal.from_line(path.read_bytes())
    assert row.answer_id == response.headers["X-Answer-ID"]
    assert row.step == "popular"
    assert client.get("/readyz").get_json()["journal"] == {"ok": True, "problem": "", "rows_lost": 0}


@pytest.mark.parametrize(("fresh", "part", "follows"), [("true", facts(), 1), ("false", facts(), 0), ("true", None, 0)])
def test_answers_follow_new_events_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: str, part: dict[str, Any] | None, follows: int
) -> None:
    """With FRESH=true, of a version with a fresh part. Else the answers are those of the version, to the byte."""
    metadata: dict[str, Any] = {"fresh": part}
    model = save_fresh(tmp_path / "fresh-model", **metadata)
    overlay = folder_of(tmp_path / "fresh", model, samples.VERSION)
    overlay.mkdir(parents=True)
    write(overlay / "base-1", {"marks": {}}, {samples.FULL: pack(Record((0,), (1,), (UNRATED,)))})
    write(overlay / RECENT, {"base": "base-1"}, {})
    write_status(overlay, Status(as_of=1_767_600_000.0))
    plain = Recommender(load_serving(model)).recommend(samples.FULL)
    for name, value in {"MODEL_DIR": str(model), "FRESH_DIR": str(tmp_path / "fresh"), "FRESH": fresh}.items():
        monkeypatch.setenv(name, value)
    client = wsgi.main().test_client()
    answer = client.get(f"/recommend/{samples.FULL}").text
    assert (answer != plain.body) == bool(follows)
    assert answer.split(",")[0] == plain.body.split(",")[follows]
    assert client.get("/readyz").get_json()["fresh_as_of"] == (1_767_600_000.0 if follows else None)


@pytest.mark.parametrize(
    ("settings", "segment"),
    [
        ({}, 8 << 20),
        ({"JOURNAL_MAX_MB": "8"}, 2 << 20),
        ({"JOURNAL_MAX_MB": "1", "WORKERS": "64"}, 1 << 13),
    ],
)
def test_every_worker_has_room_for_two_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], segment: int
) -> None:
    """Segments have 8 MiB, but are never so large that workers take the bound from each other."""
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path / "journals"))
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    made = wsgi._journal(ServiceSettings())
    assert made is not None
    assert made._segment_bytes == segment


def test_a_missing_model_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No artifact: one line with its path."""
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "nothing"))
    assert refusal(capsys).startswith(f"{tmp_path}/nothing/metadata.json: No such file or directory: is there a trained model?")


def test_a_broken_model_is_one_line(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged artifact: one line with the array's file."""
    (artifact / "serving" / "top.npy").write_bytes(b"")
    assert f"{artifact}/serving/top.npy: the checksum" in refusal(capsys)


def test_a_bad_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad value: one line with its variable."""
    monkeypatch.setenv("TRACK", "beta")
    assert refusal(capsys).startswith("TRACK: ")


def test_a_journal_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file in the place of the journals' folder: one line with its path."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("JOURNAL_DIR", str(tmp_path / "file"))
    assert refusal(capsys).startswith(f"{tmp_path}/file/stable-1: Not a directory")


def test_the_log_line_of_an_answer_is_json(capfd: pytest.CaptureFixture[str]) -> None:
    """The whole application logs what it answered."""
    wsgi.main().test_client().get("/recommend/1", headers={"X-Request-ID": "request-1"})
    entry = json.loads(capfd.readouterr().out)
    assert (entry["request_id"], entry["user"], entry["status"]) == ("request-1", 1, 200)
