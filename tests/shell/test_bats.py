"""The tests of shell scripts that are written in shell: each file next to this one, run by bats."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.bats"))
SECONDS = 300.0


def test_there_are_some() -> None:
    """Of the release's command."""
    assert "deploy.bats" in {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_bats(path: Path, root: Path) -> None:
    """All tests of a file pass."""
    bats = Path(sys.executable).with_name("bats")
    environment = {**os.environ, "ROOT": str(root), "PYTHON": sys.executable}
    ended = subprocess.run(
        [bats, "--print-output-on-failure", str(path)],
        env=environment,
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("ok ") >= path.read_text().count("@test ")
