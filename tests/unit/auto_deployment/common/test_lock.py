"""Lock files: one holder at a time, named in the file."""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.lock import LockedError, holder, is_held, locked

if TYPE_CHECKING:
    from pathlib import Path

BUSY = "another release holds the lock"


def test_a_lock_names_its_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    """The second process gets status 75 and a message with the first one's name."""
    path = tmp_path / "folder" / "lock"
    with locked(path, BUSY, name="release of version 7 by ann"):
        assert is_held(path)
        with pytest.raises(LockedError) as refused, locked(path, BUSY, advice="wait for its end"):
            pass
    assert refused.value.status == 75
    assert str(refused.value) == f"{BUSY}: {path.read_text().strip()}; wait for its end"
    assert holder(path).startswith("release of version 7 by ann since 20")
    assert not is_held(path)


def test_a_holder_without_a_name_is_the_process(tmp_path: Path) -> None:
    """The line of a former holder is replaced."""
    path = tmp_path / "lock"
    path.write_text("release of version 7 by ann since yesterday\n")
    with locked(path, BUSY):
        assert holder(path).startswith(f"process {os.getpid()} since 20")


def test_a_holder_that_has_not_written_its_line_has_just_begun(tmp_path: Path) -> None:
    """There is no name to show."""
    path = tmp_path / "lock"
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match=f"^{BUSY}: it has just begun$"), locked(path, BUSY):
            pass


def test_a_lock_that_somebody_checks_is_waited_for(tmp_path: Path) -> None:
    """A check of a lock is no reason to refuse it."""
    path = tmp_path / "lock"
    with path.open("a") as checking:
        timer = threading.Timer(0.05, checking.close)
        fcntl.flock(checking, fcntl.LOCK_SH)
        timer.start()
        with locked(path, BUSY, wait_seconds=5):
            assert is_held(path)
        timer.join()


def test_a_file_that_does_not_exist_is_not_held(tmp_path: Path) -> None:
    """Nobody ever took the lock, and there is no holder to name."""
    assert not is_held(tmp_path / "lock")
    assert not holder(tmp_path / "lock")
