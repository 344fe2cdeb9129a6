"""A GitLab of the test's own.

A bare repository whose post-receive hook runs the pipeline of what was pushed, by gitlab-ci-local with the shell executor, in
a runner's folder, with variables as GitLab hands them out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from scripts.rehearse.release_stack import share_environments
from tests.integration.checkout import ROOT, Checkout
from tests.integration.gitlab.tools import debian, gitlab_ci_local, library_path
from tests.stack.stack import copy_of_project

PROTECTED = "main"
RUN_SECONDS = 1200.0
CLEAN = [
    "git",
    "clean",
    "-ffdxq",
    "-e",
    ".venv",
    "-e",
    ".cache",
    "-e",
    ".runtime",
    "-e",
    ".dvc/cache",
    "-e",
    ".gitlab-ci-local",
]


class Pipeline(NamedTuple):
    """One that ran: of which branch and commit, its status, what its jobs said, and how many seconds it took."""

    branch: str
    commit: str
    status: int
    output: str
    seconds: float


class GitLab:
    """The repository and its runner, below `base`.

    `variables` are for every branch, `protected` ones for main; a Path is the content of a variable of type File.
    """

    def __init__(self, base: Path, *, real: bool = False) -> None:
        """`real`: with the project's own scripts/deploy.sh; else with one that only tells of itself."""
        self.base = base
        self.remote = base / "remote.git"
        self.runner = base / "runner"
        self.pipelines = base / "pipelines"
        self.pipelines.mkdir(parents=True)
        self.variables: dict[str, str | Path] = {}
        self.protected: dict[str, str | Path] = {}
        self.jobs: list[str] = []
        (base / "gitconfig").write_text("[user]\n name = Test\n email = test@example.org\n[init]\n defaultBranch = main\n")
        self.environment = environment_in(base)
        self._fill(real=real)

    def _fill(self, *, real: bool) -> None:
        """Push the project as it is here, and clone it for the runner."""
        seed = copy_of_project(self.base / "seed")
        if not real:
            (seed / "scripts" / "deploy.sh").write_bytes(Path(__file__).with_name("deploy-stand-in").read_bytes())
            (seed / "scripts" / "deploy.sh").chmod(0o755)
        for words in (
            ["init", "--quiet"],
            ["add", "--all", "--force"],
            ["commit", "--quiet", "-m", "The code"],
            ["clone", "--quiet", "--bare", str(seed), str(self.remote)],
        ):
            self.git(*words, cwd=seed)
        self.git("clone", "--quiet", str(self.remote), str(self.runner), cwd=self.base)
        use_venv(self.runner)

    def git(self, *words: str, cwd: Path) -> str:
        """Run git as nobody in particular; what it printed."""
        done = subprocess.run(
            ["git", *words], cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def clone(self, name: str) -> Checkout:
        """A clone of somebody, which knows the way to the data as `Checkout` sets it up."""
        made = Checkout(self.base / name, self.base, first=False)
        use_venv(made.folder)
        return made

    def watch_pushes(self) -> None:
        """From now on a push starts a pipeline."""
        configuration = {
            "base": str(self.base),
            "jobs": self.jobs,
            "variables": {name: _plain(value) for name, value in self.variables.items()},
            "protected": {name: _plain(value) for name, value in self.protected.items()},
        }
        (self.base / "gitlab.json").write_text(json.dumps(configuration))
        hook = self.remote / "hooks" / "post-receive"
        words = f"{sys.executable} -m tests.integration.gitlab.receive {self.base}"
        hook.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec setsid --fork {words} >>{self.base}/hook.log 2>&1\n")
        hook.chmod(0o755)

    def pipeline_of(self, commit: str, seconds: float = RUN_SECONDS) -> Pipeline:
        """The pipeline of a commit that was pushed, as soon as it has ended."""
        until = time.monotonic() + seconds
        path = self.pipelines / f"{commit}.json"
        while not path.exists():
            log = _read(self.base / "hook.log")
            assert time.monotonic() < until, f"no pipeline of {commit}: {log}"
            assert "Traceback" not in log, log
            time.sleep(0.2)
        return Pipeline(**json.loads(path.read_text()))


def environment_in(base: Path) -> dict[str, str]:
    """Of git and DVC: nothing of the machine's own settings."""
    named = ("GIT_", "KAFKA_", "SMTP_", "MYSQL_", "DVC_", "CI_", "DEPLOY_", "SSH_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(named)},
        "GIT_CONFIG_GLOBAL": str(base / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_SITE_CACHE_DIR": str(base / "dvc-site"),
    }


def use_venv(checkout: Path) -> None:
    """Let a checkout use the .venv of here: it would install the same. Should it install after all, it clears links only."""
    (checkout / ".venv").mkdir()
    for path in (ROOT / ".venv").iterdir():
        (checkout / ".venv" / path.name).symlink_to(path)
    share_environments(checkout)
    with (checkout / ".git" / "info" / "exclude").open("a") as exclude:
        exclude.write(".gitlab-ci-local\n")


def run_pipeline(base: Path, branch: str, commit: str) -> None:
    """What GitLab and its runner do with a push."""
    configuration = json.loads((base / "gitlab.json").read_text())
    runner, begun = base / "runner", time.monotonic()
    environment = environment_in(base)
    for words in (["git", "fetch", "-q", "--tags"], ["git", "checkout", "-qf", "-B", branch, commit], CLEAN):
        subprocess.run(words, cwd=runner, env=environment, timeout=120, check=True)
    variables = {**configuration["variables"], **(configuration["protected"] if branch == PROTECTED else {})}
    done = gitlab_ci(runner, base / "home", variables, predefined(runner, branch), *configuration["jobs"])
    ended = Pipeline(branch, commit, done.returncode, done.stdout + done.stderr, time.monotonic() - begun)
    aside = base / "pipelines" / f".{commit}"
    aside.write_text(json.dumps(ended._asdict()))
    aside.rename(base / "pipelines" / f"{commit}.json")


def predefined(checkout: Path, branch: str, **others: str) -> dict[str, str]:
    """GitLab's own variables of a push to a branch; `others` on top."""
    message = subprocess.run(
        ["git", "log", "-1", "--format=%B"], cwd=checkout, capture_output=True, text=True, timeout=60, check=True
    )
    configuration = {
        "CI_COMMIT_REF_PROTECTED": "true" if branch == PROTECTED else "false",
        "CI_COMMIT_BRANCH": branch,
        "CI_DEFAULT_BRANCH": PROTECTED,
        "CI_COMMIT_MESSAGE": message.stdout.strip(),
        "CI_COMMIT_TITLE": message.stdout.partition("\n")[0],
        "CI_PIPELINE_SOURCE": "push",
    }
    return {**configuration, **others}


def gitlab_ci(
    checkout: Path, home: Path, variables: dict[str, Any], configuration: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """gitlab-ci-local in a checkout. `variables` are the project's, those with a key `file` of type File."""
    (home / ".gitlab-ci-local").mkdir(parents=True, exist_ok=True)
    project = {
        name: {"type": "file", "values": {"*": value["file"]}} if isinstance(value, dict) else value
        for name, value in variables.items()
    }
    (home / ".gitlab-ci-local" / "variables.yml").write_text(json.dumps({"global": project}))
    tools = _tools(home)
    words = [word for name, value in configuration.items() for word in ("--variable", f"{name}={value}")]
    return subprocess.run(
        [*gitlab_ci_local(), "--force-shell-executor", "--concurrency", "1", "--home", str(home), *words, *arguments],
        cwd=checkout,
        env={**environment_in(home), "HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}", "FORCE_COLOR": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def _tools(home: Path) -> Path:
    """A folder with a program `rsync` that finds its libraries, and gives them to nobody else."""
    folder = home / "tools"
    folder.mkdir(exist_ok=True)
    (folder / "rsync").write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{library_path()}" exec {debian("rsync")} "$@"\n')
    (folder / "rsync").chmod(0o755)
    return folder


def _plain(value: str | Path) -> Any:
    return {"file": value.read_text()} if isinstance(value, Path) else value


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else "nothing was said"
