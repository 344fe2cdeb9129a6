from __future__ import annotations

import importlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from app import __version__

ROOT = Path(__file__).resolve().parents[2]
VISIBLE = {
    *("app", "auto_deployment", "nginx", "monitoring", "scripts", "data", "tests", "docs", "kubernetes"),
    *("docker-compose.yml", ".gitlab-ci.yml", "requirements.in", "requirements.txt"),
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"),
}


def tracked() -> list[str]:
    """The files that git keeps."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout: there is no .git here")
    return subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, timeout=30, check=True
    ).stdout.split("\0")[:-1]


def test_the_top_level_shows_only_the_house() -> None:
    """Settings of tools live in dotfiles; whatever is new has its room in one of the folders."""
    top = {path.partition("/")[0] for path in tracked()}
    assert {name for name in top if not name.startswith(".")} - VISIBLE == set()
    assert {"app", "auto_deployment", "scripts", "tests", "README.md", "LICENSE", "requirements.txt"} <= top


def test_nothing_that_a_run_leaves_behind_is_tracked() -> None:
    """No secrets, environments, caches or artifacts of a run."""
    left = re.compile(r"(^|/)(\.env$|(\.venv|\.cache|\.demo|\.hypothesis|__pycache__|logs|run)/)|\.py[co]$|\.sqlite$|\.log\.")
    assert [path for path in tracked() if left.search(path)] == []


def test_what_runs_before_a_landing_is_what_a_user_can_run() -> None:
    """`.ci/run` can be executed and runs the linters and the tests through the task runner, stopping at the first failure."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line.partition("#")[0].strip() for line in script.read_text().splitlines()]
    assert any(line.startswith("set -") and "e" in line.split()[1] for line in lines)
    commands = [line for line in lines if line and not line.startswith(("set ", "cd "))]
    assert [line for line in commands if not line.startswith("scripts/dev ")] == []
    assert commands == [f"scripts/dev {task}" for task in ("lint", "engine", "images", "test --all")]


@pytest.mark.parametrize("path", [".ci/run", "scripts/dev"])
def test_scripts_name_their_shell(path: str) -> None:
    """And stop at the first error."""
    text = (ROOT / path).read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -Eeuo pipefail" in text


def test_the_changelog_the_image_and_the_commands_name_one_version() -> None:
    """The version of the software, which is no model's."""
    newest = re.search(r"^## (\d+\.\d+\.\d+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__
    for folder in ("app", "kubernetes/verdict"):
        assert f"org.opencontainers.image.version={__version__}\n" in (ROOT / folder / "Dockerfile").read_text()
    done = subprocess.run([str(ROOT / "scripts" / "dev"), "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == f"movierec {__version__}\n"


@pytest.mark.parametrize("module", ["auto_deploy", "release.__main__", "provenance.__main__"])
def test_commands_print_the_version(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever else they would need."""
    main = importlib.import_module(f"auto_deployment.{module}").main
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"movierec {__version__}\n")
