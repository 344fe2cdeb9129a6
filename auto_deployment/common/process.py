"""Runs other programs. Commands are built elsewhere as plain lists. Every wait has a limit."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.common.logs import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
mask = Redactor()
# Looked up here: between fork and exec, a thread that no longer exists may hold a lock of the linker.
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
SECONDS = 120.0
# A program that asks a question would wait for ever without a person: these make it fail instead.
QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": "true",
    "GIT_ATTR_NOSYSTEM": "1",
    "DVC_NO_ANALYTICS": "true",
    "LC_ALL": "C.UTF-8",
}
# Variables that send git or DVC to another repository, index, cache or configuration than those of the folder they run in.
REDIRECTIONS = re.compile(
    r"GIT_(DIR|WORK_TREE|IMPLICIT_WORK_TREE|COMMON_DIR|INDEX_FILE|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|GRAFT_FILE"
    r"|SHALLOW_FILE|NAMESPACE|PREFIX|REPLACE_REF_BASE|NO_REPLACE_OBJECTS|CEILING_DIRECTORIES|CONFIG|CONFIG_PARAMETERS"
    r"|LITERAL_PATHSPECS|GLOB_PATHSPECS|NOGLOB_PATHSPECS|ICASE_PATHSPECS|EXTERNAL_DIFF|ATTR_SOURCE|QUARANTINE_PATH)"
    r"|DVC_(ROOT|STAGE|SHOW_TRACEBACK|EXP_.*)"
)
# Personal settings of git that would stop, change or sign an unattended commit. Settings about how to reach a remote stay.
UNATTENDED = {
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "tag.forceSignAnnotated": "false",
    "push.gpgSign": "false",
    "push.followTags": "false",
    "push.pushOption": "",
    "core.safecrlf": "false",
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "core.commentChar": "#",
    # DVC reads the index too, and knows neither a split one nor one without a checksum.
    "core.splitIndex": "false",
    "index.skipHash": "false",
    "diff.orderFile": os.devnull,
    "i18n.commitEncoding": "UTF-8",
    "i18n.logOutputEncoding": "UTF-8",
    "commit.cleanup": "whitespace",
    "log.showSignature": "false",
    "fetch.prune": "false",
    "fetch.pruneTags": "false",
    "rebase.autoStash": "false",
    "rebase.backend": "merge",
    "rebase.updateRefs": "false",
    "color.ui": "false",
    "column.ui": "never",
}
# Advice of git and DVC for people at a terminal, and the line in which git names the remote.
NOISE = re.compile(r"hint:|Having any troubles\?|To \S+$")
REASONS = re.compile(r"fatal|error|! \[", re.IGNORECASE)
# Characters of a program's own reasons, and of what its hooks and the server say.
MOST_WORDS = 400


class CommandError(RunError):
    """A program ended with an error, or not within its time; `words` is what the program printed about it."""

    def __init__(self, command: Sequence[str], words: str) -> None:
        shown = [*command[:1], *command[3:]] if command[1:2] == ("-c",) else command  # a setting of ours explains nothing
        super().__init__(mask(f"{' '.join(shown[:4])}: {words}"))
        self.words = words


class Commands:
    """Runs programs in one folder; `apart` from the terminal: its Ctrl-C is the run's alone, and no program's end.

    A program apart is out of reach of what kills the run's process group as well: the kernel ends it with the run.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, *, apart: bool = False) -> None:
        self._folder = folder
        self._apart = apart
        self._environment = {**own_repository(os.environ), **QUIET, **(environment or {})}

    def run(self, *command: str, seconds: float = SECONDS) -> str:
        """The output of the program, without the last line's end. Raises CommandError with the program's own words."""
        log.debug("running %s", " ".join(command))
        try:
            ended = self._end_of(command, seconds)
        except subprocess.TimeoutExpired as error:
            heard = (error.stderr or b"").decode(errors="replace")
            log.debug("standard error: %s", mask(heard.rstrip("\n")))
            words = _words(command, heard, "")
            raise CommandError(command, f"no end after {seconds:g} s" + (f"; {words}" if words else "")) from error
        except OSError as error:
            raise CommandError(command, f"cannot be run: {error.strerror}") from error
        if ended.stderr:
            log.debug("standard error: %s", mask(ended.stderr.rstrip("\n")))
        if ended.returncode:
            words = _words(command, ended.stderr, ended.stdout) or f"ended with {ended.returncode}"
            raise CommandError(command, words)
        return ended.stdout.rstrip("\n")

    def _end_of(self, command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Wait for the program's end. After its time the program is killed; apart, with all processes that it started."""
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


def own_repository(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which git and DVC use the repository of their folder, as nobody's personal settings change it."""
    kept = {name: value for name, value in environment.items() if not REDIRECTIONS.fullmatch(name)}
    given = int(count) if (count := kept.get("GIT_CONFIG_COUNT", "0")).isdecimal() else 0
    for at, (name, value) in enumerate(UNATTENDED.items(), given):
        kept |= {f"GIT_CONFIG_KEY_{at}": name, f"GIT_CONFIG_VALUE_{at}": value}
    return {**kept, "GIT_CONFIG_COUNT": str(given + len(UNATTENDED))}


def _end_with_parent() -> None:
    """Ask the kernel to kill this new process when its parent ends. Only Linux can do this."""
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)


def _words(command: Sequence[str], errors: str, output: str) -> str:
    """The lines with the reason, joined into one; empty without a reason. A hook or the server may give git's reason."""
    git = Path(command[0]).name == "git"
    text = f"{errors}\n{output}" if git else errors or output  # git leaves a hook's standard output as it is
    lines = [line for each in text.splitlines() if (line := each.strip()) and not NOISE.match(line)]
    reasons = [line for line in lines if REASONS.match(line)]
    others = [line for line in lines if git and line not in reasons] if reasons else lines[-3:]
    # Masked before it is cut: nobody can tell from half of a URL that it has a login. A hook says last why it refuses.
    words, more = mask("; ".join(reasons)), mask("; ".join(others))
    more = more if len(more) <= MOST_WORDS else f"... {more[-MOST_WORDS:]}"
    return "; ".join(each for each in (words[:MOST_WORDS], more) if each)
