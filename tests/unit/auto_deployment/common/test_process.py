"""Programs that a run starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.process import CommandError, Commands

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = str(Path(__file__).parents[4])


@pytest.mark.parametrize("apart", [True, False])
def test_a_program_apart_is_out_of_reach_of_the_terminals_ctrl_c(tmp_path: Path, *, apart: bool) -> None:
    """The terminal signals the process group of the run; a program apart has one of its own."""
    group = Commands(tmp_path, apart=apart).run(sys.executable, "-c", "import os; print(os.getpgrp())")
    assert (int(group) != os.getpgrp()) == apart


@pytest.mark.parametrize("before", [0, 480, 490])
def test_a_login_in_a_remotes_url_is_in_no_error(tmp_path: Path, before: int) -> None:
    """Not even half of it, where the words are cut: nobody could mask that any more."""
    words = f"ERROR: {'x' * before} https://somebody:sesame-open@example.org/data is away"
    with pytest.raises(CommandError) as found:
        Commands(tmp_path).run(sys.executable, "-c", f"import sys; sys.exit({words!r})")
    assert "sesame" not in str(found.value)
    assert "somebody" not in found.value.words


def test_a_program_apart_ends_with_the_run_that_is_killed(tmp_path: Path) -> None:
    """It would go on beside the next run otherwise, and both would write to one checkout."""
    program = "import os, time; open('pid', 'w').write(f'{os.getpid()} '); time.sleep(60)"
    call = f"Commands('.', apart=True).run({sys.executable!r}, '-c', {program!r})"
    run = f"from auto_deployment.common.process import Commands; {call}"
    with subprocess.Popen([sys.executable, "-c", run], cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT}) as process:
        assert until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith(" "))
        process.kill()
    number = int((tmp_path / "pid").read_text())
    assert until(lambda: not is_alive(number))


def test_a_program_apart_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """As the ssh of a push: it would go on, and hold on to the remote."""
    with pytest.raises(CommandError, match=r"no end after 0\.5 s"):
        Commands(tmp_path, apart=True).run("sh", "-c", "sleep 60 & echo $! > pid; wait", seconds=0.5)
    number = int((tmp_path / "pid").read_text())
    assert until(lambda: not is_alive(number))


def until(happens: Callable[[], bool]) -> bool:
    """Whether it happens within ten seconds."""
    end = time.monotonic() + 10
    while not happens() and time.monotonic() < end:
        time.sleep(0.02)
    return happens()


def is_alive(number: int) -> bool:
    """Whether there is such a process, other than one that only waits to be asked how it ended."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_that_takes_too_long_is_named_with_its_words(tmp_path: Path) -> None:
    """What it said before may be why, as that of a hook which waits."""
    with pytest.raises(CommandError, match=r"no end after 0\.5 s; asks ann\.example$"):
        Commands(tmp_path, apart=True).run("sh", "-c", "echo asks ann.example >&2; sleep 30", seconds=0.5)
