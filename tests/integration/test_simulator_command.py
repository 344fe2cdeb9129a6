"""`python -m scripts.simulator` as a process: its output, its statuses, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scripts.simulator import sink
from scripts.simulator.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

ENDLESS = ("stream", "--users", "100", "--films", "50", "--lines", "1000000000", "--quiet")


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the simulator."""
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.simulator", *arguments],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(root: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the simulator to its end; give status, standard output and standard error."""
    with start(root, *arguments) as process:
        output, error = process.communicate(timeout=60)
    return process.returncode, output, error


def test_the_same_command_writes_the_same_bytes(root: Path, tmp_path: Path) -> None:
    """In two processes, to standard output and to a file."""
    arguments = ("stream", "--seed", "5", "--users", "100", "--films", "80", "--lines", "2000")
    path = tmp_path / "stream.log"
    status, output, error = run(root, *arguments)
    assert (status, error) == (0, "")
    assert output.count("\n") == 2000
    assert run(root, *arguments, "--output", str(path)) == (0, "", "")
    assert path.read_text() == output


def test_a_reader_that_leaves_ends_the_stream_quietly(root: Path) -> None:
    """As with `head`: no message, status 0."""
    with start(root, *ENDLESS) as process:
        assert process.stdout
        assert process.stderr
        assert re.match(r"2026-01-05T08:", process.stdout.readline())
        process.stdout.close()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_stream_and_clears_up(root: Path, tmp_path: Path, number: signal.Signals, status: int) -> None:
    """Ctrl-C and TERM have their statuses, no traceback, and leave no half-written file."""
    path = tmp_path / "stream.log"
    with start(root, *ENDLESS, "--output", str(path)) as process:
        while not list(tmp_path.iterdir()):
            assert process.poll() is None
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (status, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_slow_visits_at_once_with_a_summary(root: Path, number: signal.Signals, status: int) -> None:
    """Waiting visits are dropped, and the summary has the finished ones."""
    with start(root, "visit", "--url", "http://127.0.0.1:9", "--rate", "0.001", "--count", "5", "--quiet") as process:
        assert process.stdout
        assert "recommendation request" in process.stdout.readline()
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
    assert process.returncode == status
    assert re.fullmatch(r"simulate: requests 1, ok 0, failed 1 \(connection 1\), p50 [0-9.]+ ms, p99 [0-9.]+ ms\n", error)


def test_the_api_says_where_it_answers_until_it_is_stopped(root: Path) -> None:
    """One line with the address; Ctrl-C ends it with status 130."""
    with start(root, "api", "--port", "0", "--users", "5", "--films", "5") as process:
        assert process.stderr
        assert re.fullmatch(r"simulate: answering on http://127\.0\.0\.1:[0-9]+\n", process.stderr.readline())
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (130, "")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("stream", "--lines", "5", "--output", "missing/folder/x"), 1, "cannot write missing/folder/x: "),
        (("visit", "--url", "http://127.0.0.1:9", "--users", "missing"), 1, "cannot read the users from missing: "),
        (("stream", "--ratings", "5", "--rating-share", "0"), 1, "nothing would be written"),
        (("stream", "--lines", "none"), 2, "not a whole number"),
    ],
)
def test_an_error_is_one_readable_line(root: Path, arguments: tuple[str, ...], status: int, message: str) -> None:
    """Each failure has its status and says what to do, without a traceback."""
    ended, output, error = run(root, *arguments)
    assert (ended, output) == (status, "")
    assert message in error.splitlines()[-1]
    assert "Traceback" not in error


@pytest.mark.parametrize(("quiet", "expected"), [((), 1), (("--quiet",), 0)])
def test_progress_is_reported_unless_quiet(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    quiet: tuple[str, ...],
    expected: int,
) -> None:
    """A run says on standard error how far it is; with --quiet it says nothing."""
    monkeypatch.setattr(sink, "WRITE_SECONDS", 0.0)
    arguments = ("stream", "--users", "50", "--films", "40", "--ratings", "40", "--output", str(tmp_path / "stream.log"))
    assert main([*arguments, *quiet]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert min(len(lines), 1) == expected
    assert all(re.fullmatch(r"\[[#-]{30}\] [0-9]+%  [0-9]+ of 40 ratings, [0-9]+/s", line) for line in lines)


def test_a_reader_that_leaves_ends_the_visits_quietly(root: Path) -> None:
    """What nobody reads is not an error of the visits."""
    with start(root, "visit", "--url", "http://127.0.0.1:9", "--count", "100000", "--quiet") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read().startswith("simulate: requests ")
