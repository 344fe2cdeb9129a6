"""Programs that a run starts."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from auto_deployment.command import Commands

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("apart", [True, False])
def test_a_program_apart_is_out_of_reach_of_the_terminals_ctrl_c(tmp_path: Path, *, apart: bool) -> None:
    """The terminal signals the process group of the run; a program apart has one of its own."""
    group = Commands(tmp_path, apart=apart).run(sys.executable, "-c", "import os; print(os.getpgrp())")
    assert (int(group) != os.getpgrp()) == apart
