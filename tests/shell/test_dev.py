"""`scripts/dev`, the task runner: what it lists, and what it says when it cannot work."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def dev(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/dev of the project in `root`."""
    return subprocess.run(
        ["/bin/bash", str(root / "scripts" / "dev"), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_task_it_lists_them(root: Path) -> None:
    """Each task of the script stands in the list with a line of its own."""
    listed = dev(root)
    assert listed.returncode == 0
    tasks = [line[5:].split("(")[0] for line in (root / "scripts" / "dev").read_text().splitlines() if line.startswith("task_")]
    assert len(tasks) >= 8
    for task in tasks:
        assert any(line.split()[:1] == [task] for line in listed.stdout.splitlines()), task


def test_an_unknown_task_is_wrong_use(root: Path) -> None:
    """A task that is not there: its name, status 2; nothing of the shell can be called by it."""
    for name in ("tset", "main", "fail", "../x"):
        ended = dev(root, name)
        assert ended.returncode == 2, name
        assert name in ended.stderr


def test_a_soak_of_no_time_is_wrong_use(root: Path) -> None:
    """It would be no soak, but the sample of every run."""
    for hours in ("0", "0.0", "-1", "long"):
        ended = dev(root, "soak", "--hours", hours, PYTHON="/bin/false")
        assert ended.returncode == 2, hours
        assert "--hours" in ended.stderr
    for days in ("0", "1", "-1", "long", "1.5"):
        ended = dev(root, "soak", "--year", days, PYTHON="/bin/false")
        assert ended.returncode == 2, days
        assert "--year" in ended.stderr


def test_without_a_new_enough_python_it_says_what_to_install(root: Path, tmp_path: Path) -> None:
    """No Python 3.11 on PATH, and no .venv yet: one line with what to do, status 1."""
    for name in ("scripts/dev", "scripts/lib/python.sh", "scripts/lib/install-lock.sh", "tests/requirements.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "cat", "cksum", "sed", "mkdir"):
        (tools / name).symlink_to(shutil.which(name) or "")
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    ended = dev(tmp_path, "python", "-V", PATH=str(tools), PYTHON="")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "no Python 3.11 to 3.14 found (python3 is no Python that runs)" in ended.stderr


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (None, ": no such program"),
        ("exit 1", " is no Python that runs, not 3.11 to 3.14"),
        ('case "$2" in *exit*) exit 1 ;; *) echo 3.10 ;; esac', " is 3.10, not 3.11 to 3.14"),
    ],
)
def test_an_unfit_python_is_named_and_not_passed_over(root: Path, tmp_path: Path, program: str | None, message: str) -> None:
    """PYTHON names the one to take: a fit one on PATH is no reason to take another in silence."""
    python = tmp_path / "mine"
    if program is not None:
        python.write_text(f"#!/bin/sh\n{program}\n")
        python.chmod(0o755)
    command = [str(root / "scripts" / "lib" / "python.sh")]
    environment = {**os.environ, "PYTHON": str(python)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"scripts/lib/python.sh: PYTHON={python}{message}\n"
