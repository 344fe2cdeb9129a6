"""A GitLab, a server and a pipeline's host of the tests' own, brought up once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.checkout import ROOT
from tests.integration.gitlab.gitlab import GitLab
from tests.integration.gitlab.sshd import USER, Sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.checkout import Checkout


class Site:
    """`gitlab`, `sshd`, and three clones: the retraining's, the server's own, somebody's."""

    def __init__(self, base: Path, *, real: bool = False) -> None:
        self.base = base
        self.gitlab = GitLab(base, real=real)
        self.sshd = Sshd(base / "sshd")
        self.data_url = f"ssh://{USER}@127.0.0.1:{self.sshd.port}{base}/dvc"
        (base / "dvc").mkdir()
        reading = self.sshd.allow("reading", "internal-sftp -R")
        writing = self.sshd.allow("writing", "internal-sftp")
        self.retraining = self._clone("retraining", writing)
        self.server = self._clone("server", reading)
        self.somebody = self._clone("somebody", reading)
        self.deploying = self.sshd.allow("deploying", f"{self.server.folder}/scripts/server/deploy-command")
        self.gitlab.variables = {
            "DVC_URL": self.data_url,
            "DVC_SSH_KEY": reading,
            "APP_TESTS": "tests/unit/app/test_app_pack.py",
        }
        self.gitlab.protected = {
            "DEPLOY_HOST": "127.0.0.1",
            "DEPLOY_PORT": str(self.sshd.port),
            "DEPLOY_USER": USER,
            "SSH_PRIVATE_KEY": self.deploying,
            "SSH_KNOWN_HOSTS": self.sshd.known_hosts,
        }

    def _clone(self, name: str, key: Path) -> Checkout:
        made = self.gitlab.clone(name)
        made.environment["PYTHONPATH"] = str(made.folder)
        (made.folder / ".dvc" / "config.local").write_text(
            f"['remote \"local\"']\n    url = {self.data_url}\n    keyfile = {key}\n    allow_agent = false\n"
        )
        return made

    def retrain(self, *inputs: Path, push: bool = True) -> str:
        """A run of the retraining that has to end with 0; the commit it made."""
        words = [word for path in inputs for word in ("--input", str(path))]
        ended = self.retraining.run(*words, *([] if push else ["--no-push"]))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return self.retraining.command("git", "rev-parse", "HEAD")

    def releases(self) -> list[tuple[int, str, str]]:
        """The releases that were started on the server: process, commit, version."""
        path = self.server.folder / "logs" / "stand-in"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(int(words[0]), words[1], words[2]) for words in lines if len(words) == 3]

    def close(self) -> None:
        """End what still runs."""
        self.sshd.stop()
        (self.server.folder / "logs").mkdir(exist_ok=True)
        (self.server.folder / "logs" / "stand-in-may-end").touch()
        for process, _, _ in self.releases():
            until = time.monotonic() + 10
            while is_alive(process) and time.monotonic() < until:
                time.sleep(0.1)
            if is_alive(process):
                os.kill(process, signal.SIGKILL)


def is_alive(process: int) -> bool:
    """Whether it runs."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def halves(folder: Path) -> tuple[Path, Path]:
    """The sample in two files, the earlier lines first."""
    lines = (ROOT / "data" / "sample" / "movielog.log").read_bytes().splitlines(keepends=True)
    cut = len(lines) * 2 // 3
    first, second = folder / "first.log", folder / "second.log"
    first.write_bytes(b"".join(lines[:cut]))
    second.write_bytes(b"".join(lines[cut:]))
    return first, second


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All of it."""
    made = Site(tmp_path_factory.mktemp("gitlab"))
    try:
        yield made
    finally:
        made.close()
