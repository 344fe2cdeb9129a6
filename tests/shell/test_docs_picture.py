"""`docs/picture.py`, which draws README's picture from a run of the demo."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

RUN = ["collect", "  3 lines: rating 3", "serve", "  GET /a: 404 not found", "  POST /b: 405 no", "  5 requests: 4 by stable"]
SUCCESS = "all as it should be"


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    """A folder with the script and an old picture."""
    shutil.copy(root / "docs" / "picture.py", tmp_path)
    (tmp_path / "demo.svg").write_text("old")
    return tmp_path


def draw(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Run the script on the lines of a run."""
    command = [sys.executable, str(folder / "picture.py")]
    return subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=60, check=False)


def texts(picture: Path) -> list[str]:
    """The lines of text in a picture, from above to below, without its title."""
    found = re.findall(r"<text\b[^>]*>(.*?)</text>", picture.read_text())
    return [html.unescape(each).replace("\xa0", " ").rstrip() for each in found if each != "movierec"]


def test_the_picture_shows_the_command_and_the_run_without_the_rows_of_refusals(folder: Path) -> None:
    """Each row of refusals is one line with dots."""
    assert draw(folder, *RUN, SUCCESS).returncode == 0
    assert texts(folder / "demo.svg") == ["$ scripts/dev demo --check", *RUN[:3], "  ...", RUN[-1], SUCCESS]


def test_times_and_progress_are_not_drawn(folder: Path) -> None:
    """They differ from run to run, and would leave an old picture wrong."""
    times = ["  evaluate: 30 of 37 trainings", "  evaluate: 9.0 s, peak 0.21 GB"]
    assert draw(folder, *RUN[:1], *times, *RUN[1:], SUCCESS).returncode == 0
    assert texts(folder / "demo.svg")[1:3] == RUN[:2]


def test_a_run_that_failed_is_not_drawn(folder: Path) -> None:
    """One line says so, and the old picture stays."""
    ended = draw(folder, *RUN)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert SUCCESS in ended.stderr
    assert (folder / "demo.svg").read_text() == "old"


def test_the_picture_of_the_readme_is_of_a_run_and_loads_nothing(root: Path) -> None:
    """The committed one: it has the demo's first and last line, and neither a font nor a picture from the network."""
    picture = root / "docs" / "demo.svg"
    lines = texts(picture)
    assert lines[:2] == ["$ scripts/dev demo --check", "collect"]
    assert lines[-1] == SUCCESS
    assert re.search(r"font-face|@import|url\([\"']?https?:|href=\"https?:", picture.read_text()) is None
    assert f"({picture.relative_to(root)})" in (root / "README.md").read_text()
