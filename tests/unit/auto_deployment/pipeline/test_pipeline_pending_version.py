"""The file of a pending version: its bytes, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.json_file import StateError
from auto_deployment.pipeline.pending_version import PendingVersion

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = {
    "base": "c0ffee",
    "data_creation": "2026-01-05T09:00:00Z",
    "gaps": [{"lines": 5, "source": "t/0", "start": 0, "stop": 5}],
    "lag": 3,
    "lines": {"kinds": {"rating": 2}, "lines": 3, "rejected": {"user": 1}, "rejected_kinds": {"rating/user": 1}, "repaired": 0},
    "marks": {"t/0": {"offset": 10}},
    "number": 7,
    "stage": "begun",
    "starts": {"clean_rating": 0},
    "stops": {"clean_rating": 90},
    "trained_on": "2026-01-05T09:00:00Z",
}


def test_a_saved_version_has_the_same_keys_and_its_new_stage(tmp_path: Path) -> None:
    """A later run reads what an earlier one wrote, byte for byte but for the stage."""
    path = tmp_path / "release.json"
    path.write_text(json.dumps(CONTENT))
    pending = PendingVersion.load(path)
    assert pending is not None
    assert pending.lines.rejected == {"user": 1}
    pending.save(path, "committed")
    assert path.read_text() == json.dumps({**CONTENT, "stage": "committed"}, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"number": "seven"}, "number: "),
        ({"stage": "gone"}, "stage: "),
        ({"more": 1}, "more: "),
        ({"lines": {"rows": 1}}, "lines.rows: "),
    ],
)
def test_a_damaged_file_is_refused_by_its_key(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    """The message names the file and the key."""
    path = tmp_path / "release.json"
    path.write_text(json.dumps({**CONTENT, **change}))
    with pytest.raises(StateError, match=rf"release\.json: not a valid PendingVersion \({problem}"):
        PendingVersion.load(path)
    assert PendingVersion.load(tmp_path / "none.json") is None
