"""`scripts/server/deploy-command` and `scripts/gitlab/deploy`, without a network: what they refuse, and what they say."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

AUTHOR = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
CHECK = """#!/bin/sh
echo "$*" >>logs/checks
[ ! -f logs/unfit ] || { echo 'check model: cut' >&2; exit 3; }
[ "$1" = scripts.check ] || [ ! -f logs/no-gc ]
"""
BEGINS = '#!/bin/sh\necho "12:00:00  version $(cat data/version.txt): release, by a test"\nsleep 5\n'


class Server:
    """A clone of a bare remote with the command and stand-ins for what it calls."""

    def __init__(self, folder: Path, root: Path, deploy: str) -> None:
        self.remote, self.folder, self.seed = folder / "remote.git", folder / "server", folder / "seed"
        files = {"scripts/run": CHECK, "scripts/deploy.sh": deploy, "data/version.txt": "7\n", ".gitignore": "/logs/\n"}
        for name, text in files.items():
            (self.seed / name).parent.mkdir(parents=True, exist_ok=True)
            (self.seed / name).write_text(text)
            (self.seed / name).chmod(0o755)
        (self.seed / "scripts" / "server").mkdir()
        shutil.copy(root / "scripts" / "server" / "deploy-command", self.seed / "scripts" / "server")
        self.git("init", "-q", "-b", "main")
        self.first = self.commit("The code")
        self.git("clone", "-q", "--bare", str(self.seed), str(self.remote))
        self.git("remote", "add", "origin", str(self.remote))
        self.git("clone", "-q", str(self.remote), str(self.folder))

    def git(self, *words: str, cwd: Path | None = None) -> str:
        """Run git in the seed, or elsewhere."""
        done = subprocess.run(
            ["git", *AUTHOR, *words], cwd=cwd or self.seed, timeout=60, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """A commit of all there is in the seed."""
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def pushed(self, message: str) -> str:
        """One more commit on main."""
        made = self.commit(message)
        self.git("push", "-q", "origin", "main")
        return made

    def ask(self, words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The command as sshd runs it."""
        return subprocess.run(
            [str(self.folder / "scripts" / "server" / "deploy-command")],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder.parent), "SSH_ORIGINAL_COMMAND": words, **environment},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def head(self) -> str:
        """What is checked out."""
        return self.git("rev-parse", "HEAD", cwd=self.folder)

    def logs(self, ending: str = "") -> list[str]:
        """The names of the releases' logs."""
        return sorted(path.name for path in (self.folder / "logs").glob(f"release-*.log{ending}"))


def server(folder: Path, root: Path, deploy: str = BEGINS) -> Server:
    """A server, with a `scripts/deploy.sh` of this text."""
    return Server(folder, root, deploy)


def test_it_checks_out_checks_and_starts(tmp_path: Path, root: Path) -> None:
    """The commit that was pushed, its model, the release; at once when the release says that it has begun."""
    made = server(tmp_path, root)
    commit = made.pushed("Data and Model version update: [8]")
    begun = time.monotonic()
    ended = made.ask(f"release {commit}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - begun < 20
    assert "the release of version 7 has begun" in ended.stdout
    assert made.head() == commit
    assert (made.folder / "logs" / "checks").read_text().splitlines()[0] == "scripts.check model --pull"
    assert len(made.logs()) == 1


def test_the_models_of_older_versions_leave_the_cache(tmp_path: Path, root: Path) -> None:
    """Once the new one is found to be fit; the DVC remote keeps them. Where that fails, the release goes on."""
    made = server(tmp_path, root)
    (made.folder / "logs").mkdir()
    (made.folder / "logs" / "no-gc").touch()
    ended = made.ask(f"release {made.first}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (made.folder / "logs" / "checks").read_text().splitlines()[1:] == ["dvc gc --quiet --workspace --force"]
    assert "older models stay in .dvc/cache" in ended.stdout


@pytest.mark.parametrize(
    "words",
    ["", "release", "release main", "release HEAD", f"release {'a' * 39}", f"release {'a' * 40};id", f"sh release {'a' * 40}"],
)
def test_other_words_are_wrong_use(tmp_path: Path, root: Path, words: str) -> None:
    """Status 2, and nothing is touched."""
    made = server(tmp_path, root)
    ended = made.ask(words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert not (made.folder / "logs").exists()


@pytest.mark.parametrize("left", ["data/collected.json", "data/.run.lock"])
def test_the_checkout_of_the_retraining_is_never_touched(tmp_path: Path, root: Path, left: str) -> None:
    """Somebody named the wrong folder in authorized_keys: status 3, and what to do."""
    made = server(tmp_path, root)
    commit = made.pushed("Data and Model version update: [8]")
    (made.folder / left).write_text("{}\n")
    ended = made.ask(f"release {commit}")
    assert ended.returncode == 3
    assert "a clone of its own" in ended.stderr
    assert made.head() == made.first


def test_what_is_not_on_the_branch_is_refused(tmp_path: Path, root: Path) -> None:
    """A commit of another branch, and one that nobody has pushed."""
    made = server(tmp_path, root)
    made.git("switch", "-q", "-c", "beside")
    other_branch = made.commit("Data and Model version update: [8]")
    made.git("push", "-q", "origin", "beside")
    for commit in (other_branch, "0" * 40):
        ended = made.ask(f"release {commit}")
        assert ended.returncode == 3
        assert "is not on main" in ended.stderr
    assert made.head() == made.first


def test_an_older_commit_is_refused_and_the_same_one_is_not(tmp_path: Path, root: Path) -> None:
    """A job that is run again may end what it began; one of last week may not take the server back."""
    made = server(tmp_path, root)
    commit = made.pushed("Data and Model version update: [8]")
    assert made.ask(f"release {commit}").returncode == 0
    assert made.ask(f"release {commit}").returncode == 0
    ended = made.ask(f"release {made.first}")
    assert ended.returncode == 3
    assert "rollback" in ended.stderr
    assert made.head() == commit


def test_a_remote_that_is_away_fails_it(tmp_path: Path, root: Path) -> None:
    """Status 1, with git's words and ours."""
    made = server(tmp_path, root)
    made.remote.rename(tmp_path / "away")
    ended = made.ask(f"release {made.first}")
    assert ended.returncode == 1
    assert "cannot fetch main" in ended.stderr


def test_a_model_that_is_not_fit_starts_nothing(tmp_path: Path, root: Path) -> None:
    """The check's own status and words."""
    made = server(tmp_path, root)
    (made.folder / "logs").mkdir()
    (made.folder / "logs" / "unfit").touch()
    ended = made.ask(f"release {made.first}")
    assert ended.returncode == 3
    assert "check model: cut" in ended.stderr
    assert made.logs() == []


def test_a_release_that_ends_at_once_gives_its_status_and_words(tmp_path: Path, root: Path) -> None:
    """Refused, say: the job shows why."""
    made = server(tmp_path, root, "#!/bin/sh\necho 'deploy.sh: version 7 was aborted before' >&2\nexit 3\n")
    ended = made.ask(f"release {made.first}")
    assert ended.returncode == 3
    assert "version 7 was aborted before" in ended.stderr
    assert "ended with 3" in ended.stderr


def test_a_release_that_was_left_with_the_running_one_is_done(tmp_path: Path, root: Path) -> None:
    """It ends with 0 before it has begun anything."""
    made = server(tmp_path, root, "#!/bin/sh\necho 'the running release was asked: release'\n")
    ended = made.ask(f"release {made.first}")
    assert ended.returncode == 0
    assert "the running release was asked" in ended.stderr


def test_a_release_that_takes_long_to_begin_is_said_to(tmp_path: Path, root: Path) -> None:
    """It is at work, and the log tells of what."""
    made = server(tmp_path, root, "#!/bin/sh\nsleep 5\n")
    ended = made.ask(f"release {made.first}", DEPLOY_BEGUN_SECONDS="1")
    assert ended.returncode == 0
    assert "has not begun after 1 s" in ended.stdout


def test_the_own_repository_is_used_whatever_the_environment_names(tmp_path: Path, root: Path) -> None:
    """Another clone, as somebody's shell may name it, stays as it is."""
    made = server(tmp_path, root)
    commit = made.pushed("Code")
    before = made.git("rev-parse", "HEAD", cwd=made.seed)
    other = tmp_path / "other"
    made.git("clone", "-q", str(made.remote), str(other))
    made.git("reset", "-q", "--hard", made.first, cwd=other)
    ended = made.ask(f"release {commit}", GIT_DIR=str(other / ".git"), GIT_WORK_TREE=str(other))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (made.head(), made.git("rev-parse", "HEAD", cwd=other), before) == (commit, made.first, commit)


@pytest.mark.parametrize("lock", ["index.lock", "shallow.lock", "refs/remotes/origin/main.lock"])
def test_a_lock_is_left_to_the_proof_that_nobody_holds_it(tmp_path: Path, root: Path, lock: str) -> None:
    """It is not removed here: what the one function finds decides, and is the deploy's message."""
    made = server(tmp_path, root)
    (made.folder / ".git" / lock).touch()
    (made.folder / "logs").mkdir()
    assert made.ask(f"release {made.pushed('Code')}").returncode == int(lock != "shallow.lock")
    assert (made.folder / "logs" / "checks").read_text().splitlines()[0] == "--installed auto_deployment.versioning"


def test_two_at_a_time_wait_for_each_other(tmp_path: Path, root: Path) -> None:
    """The second one goes on when the first has let go."""
    made = server(tmp_path, root)
    (made.folder / "logs").mkdir()
    with (made.folder / "logs" / ".deploy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [str(made.folder / "scripts" / "server" / "deploy-command")]
        environment = {"PATH": os.environ["PATH"], "SSH_ORIGINAL_COMMAND": f"release {made.first}"}
        waiting = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
        fcntl.flock(lock, fcntl.LOCK_UN)
        output, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, output


def test_old_logs_go(tmp_path: Path, root: Path) -> None:
    """Those of the last thirty releases stay."""
    made = server(tmp_path, root)
    (made.folder / "logs").mkdir()
    for day in range(40):
        for ending in ("", ".status"):
            (made.folder / "logs" / f"release-202601{day:02d}T000000Z-abc.log{ending}").touch()
    assert made.ask(f"release {made.first}").returncode == 0
    assert len(made.logs()) == 31
    assert len(made.logs(".status")) == 30
    assert made.logs()[0].startswith("release-20260110")


VARIABLES = ("DEPLOY_HOST", "DEPLOY_USER", "SSH_PRIVATE_KEY", "SSH_KNOWN_HOSTS", "CI_COMMIT_SHA")


def deploy(root: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The job's script."""
    return subprocess.run(
        [str(root / "scripts" / "gitlab" / "deploy")],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("missing", VARIABLES)
def test_the_job_names_a_variable_that_is_missing(root: Path, missing: str) -> None:
    """One line."""
    ended = deploy(root, CI_COMMIT_REF_PROTECTED="true", **{name: "/dev/null" for name in VARIABLES if name != missing})
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"deploy: {missing} is not set")
    assert ended.stderr.count("\n") == 1


def test_the_job_does_nothing_on_an_unprotected_branch(root: Path) -> None:
    """Even if somebody wrote a rule that lets it run."""
    ended = deploy(root, CI_COMMIT_REF_PROTECTED="false", **dict.fromkeys(VARIABLES, "/dev/null"))
    assert ended.returncode == 1
    assert "not protected" in ended.stderr


def test_the_job_wants_files(root: Path) -> None:
    """A key in a plain variable would stand in the job's environment."""
    ended = deploy(root, CI_COMMIT_REF_PROTECTED="true", **dict.fromkeys(VARIABLES, "a key"))
    assert ended.returncode == 1
    assert "type File" in ended.stderr
