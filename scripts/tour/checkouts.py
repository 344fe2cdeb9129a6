"""The tour's remotes and clones, in one folder: a git remote, a DVC remote, and a clone for each host."""

from __future__ import annotations

import os
import subprocess
from typing import IO, TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.common.process import own_repository
from auto_deployment.common.settings import Settings
from scripts.rehearse.compose_stack import PORTS, ROOT, copy_of_project
from scripts.tour.narrator import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

END_SECONDS = 15.0
LAST_LINES = 6
AUTHOR = {"user.name": "tour", "user.email": "tour@example.org"}
OF_STACK = {*PORTS, "STACK_NET", "DOCKER_DATA_ROOT", "COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PROFILES"}


class CommandFailedError(RunError):
    """A command of the tour failed. The message has the end of its output, and the file with all of it."""


class Checkouts:
    """The remotes and the clones under `folder`, and the commands that run in them."""

    def __init__(self, folder: Path) -> None:
        self.remote = folder / "git-remote.git"
        self.dvc_remote = folder / "dvc-remote"
        self.developer = folder / "developer"
        self.retraining = folder / "retraining"
        self.gitlab = folder / "gitlab-runner"
        self.server = folder / "server"
        self.logs = folder / "logs"
        own = {name.upper() for name in Settings.model_fields} | OF_STACK
        inherited = {name: value for name, value in own_repository(os.environ).items() if name not in own}
        # DVC would keep its locks outside the folder.
        self.environment = {**inherited, "DVC_SITE_CACHE_DIR": str(folder / "dvc-site"), "DVC_NO_ANALYTICS": "true"}

    def create(self) -> None:
        """Make the remotes with the project's files as the first commit, and the clones. Raises CommandFailedError."""
        self.logs.mkdir()
        copy_of_project(self.developer)
        self.run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.remote), cwd=self.logs)
        self.run("git", "init", "--quiet", "--initial-branch=main", cwd=self.developer)
        self.run("git", "remote", "add", "origin", str(self.remote), cwd=self.developer)
        self._sign(self.developer)
        self.commit("The code", ".")
        for clone in (self.retraining, self.gitlab, self.server):
            self.run("git", "clone", "--quiet", str(self.remote), str(clone), cwd=self.logs)
            self._sign(clone)
            use_dvc_remote(clone, self.dvc_remote)
        # The same packages: the clone need not install them again.
        (self.gitlab / ".venv").symlink_to(ROOT / ".venv")

    def commit(self, message: str, path: str) -> str:
        """Commit what the developer changed under `path`, and push it. Returns the commit's short form and message."""
        here = self.developer
        self.run("git", "add", path, cwd=here)
        self.run("git", "commit", "--quiet", "--message", message, cwd=here)
        self.run("git", "push", "--quiet", "origin", "main", cwd=here)
        return self.last_commit(here)

    def last_commit(self, checkout: Path, revision: str = "HEAD") -> str:
        """A commit's short form and message. Raises CommandFailedError."""
        return self.run("git", "log", "-1", "--format=%h %s", revision, cwd=checkout).strip()

    def _sign(self, checkout: Path) -> None:
        for name, value in AUTHOR.items():
            self.run("git", "config", name, value, cwd=checkout)

    def run(
        self,
        *command: str,
        cwd: Path,
        show: Callable[[str], None] | None = None,
        environment: Mapping[str, str] | None = None,
        allowed: tuple[int, ...] = (0,),
    ) -> str:
        """Run a command, and return its standard output. `show` gets each line at once. Raises CommandFailedError.

        Standard error goes to a file in `logs`. The caller limits the time.
        """
        log = self.logs / f"{'-'.join(word.rpartition('/')[2] for word in command[:2])}.log"
        with log.open("a+") as errors:
            errors.seek(0, os.SEEK_END)
            begin = errors.tell()
            status, output = self._end_of(command, cwd, show, {**self.environment, **(environment or {})}, errors)
            errors.seek(begin)
            written = errors.read()
        if status not in allowed:
            end = "\n".join([*output.splitlines(), *written.splitlines()][-LAST_LINES:])
            raise CommandFailedError(f"{' '.join(command[:3])} ended with {status} (see {shown(log)}):\n{end}")
        return output

    def _end_of(
        self,
        command: tuple[str, ...],
        cwd: Path,
        show: Callable[[str], None] | None,
        environment: Mapping[str, str],
        errors: IO[str],
    ) -> tuple[int, str]:
        """The status and the standard output of a command. The command ends with the tour."""
        lines = []
        with subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                for line in process.stdout or ():
                    lines.append(line)
                    if show is not None:
                        show(line.rstrip("\n"))
                process.wait()
            except BaseException:  # a time limit or Ctrl-C: the command ends too
                _end(process)
                raise
        return process.returncode, "".join(lines)


def use_dvc_remote(checkout: Path, remote: Path) -> None:
    """Have DVC in a checkout use the folder `remote`, by a file that git ignores."""
    (checkout / ".dvc" / "config.local").write_text(f"['remote \"local\"']\n    url = {remote}\n")


def write_settings(checkout: Path, settings: Mapping[str, str]) -> None:
    """Write `.env`, so that a command by hand in the checkout does the same as a command of the tour."""
    path = checkout / ".env"
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


def _end(process: subprocess.Popen[str]) -> None:
    """End a command in order, or kill it after END_SECONDS."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
