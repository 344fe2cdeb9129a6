from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.lock import is_held
from auto_deployment.scheduler.plan import UNOBSERVED
from auto_deployment.scheduler.process import Adopted, Child
from auto_deployment.scheduler.signals import Signals

if TYPE_CHECKING:
    from pathlib import Path


def test_signals_end_a_wait_and_are_kept() -> None:
    """The first one counts, and the handlers before are set again."""
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        signals.wait(20)
        assert signals.stop == signal.SIGTERM
        signals.wait(0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_inherits_the_lock_that_says_that_it_goes_on(tmp_path: Path) -> None:
    """Nothing else can be started beside it; and KILL ends it with all that it started."""
    lock = tmp_path / "lock"
    with Signals() as signals:
        run = Child(["bash", "-c", "sleep 60 & wait"], lock)
        assert is_held(lock)
        with pytest.raises(BlockingIOError):
            Child(["true"], lock)
        run.kill()
        assert run.poll() == -9
        while is_held(lock):
            signals.wait(0.01)
        run = Child(["true"], lock)
        while run.poll() is None:
            signals.wait(20)
        assert run.poll() == 0
    assert not is_held(lock)


def test_a_run_that_has_just_ended_may_be_asked_to_end(tmp_path: Path) -> None:
    """Or one whose process is not known."""
    with subprocess.Popen(["true"], start_new_session=True) as process:
        process.wait()
    for run in (Adopted(process.pid, tmp_path / "lock"), Adopted(None, tmp_path / "lock")):
        run.terminate()
        run.kill()
        assert run.poll() == UNOBSERVED
