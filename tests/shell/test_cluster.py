"""`scripts/dev cluster` where it makes no cluster: one is there, or it is used wrongly. tests/cluster has the rest."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

KUBECTL = """#!/usr/bin/env bash
[[ $* != 'get --raw /readyz' ]] || printf ok
[[ $* != 'config current-context' ]] || printf 'staging\\n'
"""


def cluster(root: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command, with a folder of programs before those of this machine."""
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else os.environ
    command = [str(root / "scripts" / "lib" / "cluster.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_cluster_that_kubectl_reaches_is_used(root: Path, tmp_path: Path) -> None:
    """Nothing is built, and the line names the context."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    done = cluster(root, path=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"cluster: uses the cluster that kubectl reaches: {tmp_path}/kubectl, context staging\n"


@pytest.mark.parametrize("arguments", [("--start",), ("--load",), ("--stop", "now")])
def test_wrong_use_is_one_line_and_status_2(root: Path, arguments: tuple[str, ...]) -> None:
    """And changes nothing."""
    done = cluster(root, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "cluster: use: scripts/dev cluster [--stop | --load IMAGE...]\n"
