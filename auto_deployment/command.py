"""Runs other programs: built elsewhere as plain lists, run here, with a limit to every wait."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from auto_deployment.errors import RunError
from auto_deployment.logs import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
mask = Redactor()
# Looked up here: between fork and exec a lock of the linker may be held by a thread that is not there any more.
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
SECONDS = 120.0
# A program that could ask somebody waits for ever where nobody is: it fails instead.
QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true", "DVC_NO_ANALYTICS": "true", "LC_ALL": "C.UTF-8"}


class CommandError(RunError):
    """A program ended with an error, or not within its time; `words` is what it said."""

    def __init__(self, command: Sequence[str], words: str) -> None:
        super().__init__(mask(f"{' '.join(command[:4])}: {words}"))
        self.words = words


class Commands:
    """Runs programs in one folder; `apart` from the terminal: its Ctrl-C is the run's alone, and no program's end.

    A program apart is out of reach of what kills the run's process group as well: the kernel ends it with the run.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, *, apart: bool = False) -> None:
        self._folder = folder
        self._apart = apart
        self._environment = {**os.environ, **QUIET, **(environment or {})}

    def run(self, *command: str, seconds: float = SECONDS) -> str:
        """What the program printed, without the last line's end. Raises CommandError with its own words."""
        log.debug("running %s", " ".join(command))
        try:
            ended = self._end_of(command, seconds)
        except subprocess.TimeoutExpired as error:
            raise CommandError(command, f"no end after {seconds:g} s") from error
        except OSError as error:
            raise CommandError(command, f"cannot be run: {error.strerror}") from error
        if ended.returncode:
            raise CommandError(command, _words(ended))
        return ended.stdout.rstrip("\n")

    def _end_of(self, command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Wait for the program's end; one that is not waited for any more is killed, apart with all that it started."""
        with subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=self._apart,
            preexec_fn=_end_with_parent if self._apart else None,  # noqa: PLW1509 - only it can ask this of the kernel
        ) as process:
            try:
                output, errors = process.communicate(timeout=seconds)
            except BaseException:
                self._kill(process)
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def _kill(self, process: subprocess.Popen[str]) -> None:
        if not self._apart:
            process.kill()
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _end_with_parent() -> None:
    """Have the kernel kill this process, a new one, when the one that started it ends. Only Linux can."""
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)


def _words(ended: subprocess.CompletedProcess[str]) -> str:
    """The lines that say what is wrong, as one."""
    lines = [line.strip() for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
    told = [line for line in lines if line.lower().startswith(("fatal", "error", "! [", "remote:"))] or lines[-3:]
    # Masked before it is cut: of half a URL nobody can tell any more that it has a login.
    return mask("; ".join(told))[:500] or f"ended with {ended.returncode}"
