from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from auto_deployment.common.json_file import StateError
from auto_deployment.scheduler.__main__ import show
from auto_deployment.scheduler.plan import COLLECT, RETRAIN, Run
from auto_deployment.scheduler.state_file import Memory, from_document, to_document
from tests.unit.auto_deployment.scheduler.runs import NEVER, NOW, done, some_runs

if TYPE_CHECKING:
    from pathlib import Path


@given(some_runs, some_runs)
def test_what_is_written_is_read_again(retrain: Run, collect: Run) -> None:
    """To the millisecond, through JSON."""
    runs = {RETRAIN: retrain, COLLECT: collect}
    document = json.loads(json.dumps(to_document(runs, {RETRAIN: NOW, COLLECT: NOW + 1})))
    read, due_ = from_document(document)
    assert due_ == {RETRAIN: NOW, COLLECT: NOW + 1}
    assert to_document(read, {RETRAIN: NOW, COLLECT: NOW + 1}) == document


DOCUMENT = to_document({RETRAIN: done(NOW), COLLECT: Run()}, {RETRAIN: NOW, COLLECT: NOW})


@pytest.mark.parametrize("name", list(DOCUMENT["jobs"][RETRAIN]))
@pytest.mark.parametrize("value", [1.5, "x", [], True])
def test_a_value_of_another_kind_is_corrupt_or_harmless(name: str, value: object) -> None:
    """It is refused, or read as something of the right kind."""
    document = json.loads(json.dumps(DOCUMENT))
    document["jobs"][RETRAIN][name] = value
    try:
        runs, _ = from_document(document)
    except ValueError:
        return
    assert name in {"note", "cut_off"}
    assert isinstance(runs[RETRAIN].note, str)
    assert isinstance(runs[RETRAIN].cut_off, bool)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"jobs": 3}', '{"jobs": {"retrain": {}, "collect": {}}}', "\x00" * 50]
)
def test_a_corrupt_file_is_set_aside_and_all_begins_anew(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and kept for whoever wants to look; `--status` says so without touching it."""
    (tmp_path / "scheduler.json").write_text(content)
    assert "is corrupt" in show(tmp_path)
    assert (tmp_path / "scheduler.json").exists()
    assert Memory(tmp_path / "scheduler.json").recall() == NEVER
    assert not (tmp_path / "scheduler.json").exists()
    assert (tmp_path / "scheduler.json.broken").read_text() == content
    assert "scheduler.json.broken" in caplog.text


def test_a_file_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The runs go on, and the log says what a restart would not know."""
    (tmp_path / "file").write_text("in the way")
    Memory(tmp_path / "file" / "scheduler.json").write(NEVER, {RETRAIN: NOW, COLLECT: NOW})
    assert "cannot be written" in caplog.text


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    """It may be sound: it is not set aside."""
    (tmp_path / "scheduler.json").mkdir()
    with pytest.raises(StateError, match=r"scheduler\.json"):
        Memory(tmp_path / "scheduler.json").recall()
    assert (tmp_path / "scheduler.json").exists()
