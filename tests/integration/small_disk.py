"""A disk of few bytes, which only root can mount."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of so many bytes at `folder`, with what was in it."""
    kept = [(path.relative_to(folder), path.read_bytes()) for path in folder.rglob("*") if path.is_file()]
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if os.geteuid() != 0 or mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs, that is root")
    try:
        for name, content in kept:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        yield
    finally:
        # A process that a test was interrupted in may still be at work there.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def enlarge(folder: Path) -> None:
    """Make room on a small disk."""
    subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
