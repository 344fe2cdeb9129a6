from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from scripts.simulator.errors import OutputError
from scripts.simulator.sink import open_sink

if TYPE_CHECKING:
    from pathlib import Path


class InterruptedWriterError(Exception):
    """What stops a writer half-way in these tests."""


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """While lines are written, the old file stays; then the new one has taken its name, and nothing else is left."""
    path = tmp_path / "stream.log"
    path.write_text("old\n")
    with open_sink(str(path)) as sink:
        sink.write("one")
        sink.write("two")
        assert path.read_text() == "old\n"
    assert path.read_bytes() == b"one\ntwo\n"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_writer_leaves_the_old_file(tmp_path: Path) -> None:
    """What is not finished never takes the place of what was there, and is cleared away."""
    path = tmp_path / "stream.log"
    path.write_text("old\n")

    def interrupted() -> None:
        with open_sink(str(path)) as sink:
            sink.write("one")
            raise InterruptedWriterError

    with pytest.raises(InterruptedWriterError):
        interrupted()
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error says which file, why, and what to do."""
    path = tmp_path / "missing" / "stream.log"
    with (
        pytest.raises(OutputError, match=r"missing/stream\.log: No such file or directory; choose another place"),
        open_sink(str(path)),
    ):
        pass


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    """A named pipe, like a device, stays what it is and gets the lines."""
    path, read = tmp_path / "pipe", list[str]()
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    with open_sink(str(path)) as sink:
        sink.write("one")
    reader.join()
    assert read == ["one\n"]
    assert path.is_fifo()


def test_standard_output_gets_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """The name `-` is standard output."""
    with open_sink("-") as sink:
        sink.write("one")
    assert capsys.readouterr().out == "one\n"
