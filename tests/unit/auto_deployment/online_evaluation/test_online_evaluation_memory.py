from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def peak(root: Path, folder: Path, days: int) -> float:
    """The most memory, in MiB, of a process of its own that keeps, packs and judges so many days."""
    command = [sys.executable, "-m", "tests.unit.auto_deployment.online_evaluation.days_of_stream", str(folder), str(days)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return float(ended.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_days(root: Path, tmp_path: Path) -> None:
    """Four times the days of stream, kept and attributed: no more memory, except the allocator's remains."""
    short, long = (tmp_path / name for name in ("short", "long"))
    short.mkdir()
    long.mkdir()
    assert peak(root, long, 8) < 1.15 * peak(root, short, 2)
