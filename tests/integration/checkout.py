"""A checkout that publishes versions: a git clone with a bare remote and a DVC remote, all in a folder of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb

from scripts.tour.checkouts import use_dvc_remote

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 300.0
IGNORED = (".gitattributes", ".gitignore", ".dvc/config", ".dvc/.gitignore", ".dvcignore", "data/version.txt")


class Checkout:
    """One host's clone of the project."""

    def __init__(self, folder: Path, base: Path, *, first: bool = True) -> None:
        """`base` holds the remotes; the `first` checkout makes them, another one is cloned from them.

        A checkout that is in the folder already is used as it is.
        """
        self.folder = folder
        self.remote = base / "remote.git"
        self.dvc_remote = base / "dvc"
        self.umask = -1  # of its runs; -1 is this process's own
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "KAFKA_", "SMTP_", "MYSQL_"))},
            "PYTHONPATH": str(ROOT),
            "RANKER": "popularity",  # the quickest: what ranks is not what these tests are about
            "GIT_CONFIG_GLOBAL": str(base / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "DVC_SITE_CACHE_DIR": str(base / "dvc-site"),
        }
        if folder.exists():
            return
        if first:
            self._make(base)
        else:
            self.command("git", "clone", "--quiet", str(self.remote), str(folder), cwd=base)
        use_dvc_remote(self.folder, self.dvc_remote)

    def _make(self, base: Path) -> None:
        (base / "gitconfig").write_text("[user]\n name = Test\n email = test@example.org\n[init]\n defaultBranch = main\n")
        self.command("git", "init", "--quiet", "--bare", str(self.remote), cwd=base)
        self.folder.mkdir()
        self.command("git", "init", "--quiet")
        self._fill()
        self.command("git", "add", "--all")
        self.command("git", "commit", "--quiet", "-m", "The code")
        self.command("git", "remote", "add", "origin", str(self.remote))
        self.command("git", "push", "--quiet", "origin", "main")

    def _fill(self) -> None:
        """Put in what the first commit holds: as little as a run needs."""
        for name in IGNORED:
            source, target = ROOT / name, self.folder / name
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())

    def command(self, *command: str, cwd: Path | None = None) -> str:
        """Run a program in the checkout; what it printed."""
        ended = subprocess.run(
            command, cwd=cwd or self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended.stdout.strip()

    def argv(self, *arguments: str) -> list[str]:
        """The command of a run."""
        return [sys.executable, "-m", "auto_deployment.auto_deploy", *arguments]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """One run of the pipeline, to its end."""
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
            umask=self.umask,
        )

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """A run that goes on by itself; `said` is what it writes to standard error."""
        with self.said.open("wb") as found:
            return subprocess.Popen(
                self.argv(*arguments),
                cwd=self.folder,
                env={**self.environment, **environment},
                stdout=subprocess.DEVNULL,
                stderr=found,
            )

    @property
    def said(self) -> Path:
        """What the last run that was started has written to standard error."""
        return self.folder.with_name(f"{self.folder.name}.err")

    def data(self, name: str) -> Path:
        """A file of the data folder."""
        return self.folder / "data" / name

    def kill_at(self, seconds: float, *arguments: str) -> bool:
        """Start a run and kill all of its processes after a while; whether it was still running."""
        process = subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        return False

    def minutes(self) -> dict[tuple[int, str], int]:
        """The watched minutes by user and film: those of the last version, and the open ones."""
        found = Counter[tuple[int, str]]()
        for path in self.folder.glob("data/open_watch*.csv"):
            for user, film, count, *_ in (line.split(",") for line in path.read_text().splitlines()[1:]):
                found[int(user), film] += int(count)
        if folders := [each for each in self.folder.glob("data/pairs/*") if each.name.isdigit()]:
            table = max(folders, key=lambda each: int(each.name))
            with duckdb.connect() as database:
                films = database.read_parquet(str(table / "films.parquet"))
                rows = database.read_parquet(str(table / "watches_*.parquet")).join(films, "code = film")
                for user, film, count in rows.project("user_id, movie_id, minutes").fetchall():
                    found[user, film] += count
        return dict(found)
