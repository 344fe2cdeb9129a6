from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.json_file import StateError, read_json, write_json_synced

if TYPE_CHECKING:
    from pathlib import Path


def test_a_json_file_is_replaced_whole(tmp_path: Path) -> None:
    """What was written is read again, its folder is made, and nothing is left beside it."""
    path = tmp_path / "deep" / "state.json"
    assert read_json(path) is None
    for value in ({"a": 1}, {"b": [1, None]}):
        write_json_synced(path, value)
        assert read_json(path) == value
    assert [each.name for each in path.parent.iterdir()] == ["state.json"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    """A value that is no JSON changes nothing."""
    path = tmp_path / "state.json"
    write_json_synced(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json_synced(path, {"a": object()})
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\udcff"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    """Cut, of another kind, or no text."""
    path = tmp_path / "state.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(StateError, match=str(path)):
        read_json(path)


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    """It is there, and it is no file."""
    with pytest.raises(StateError, match=str(tmp_path)):
        read_json(tmp_path)
