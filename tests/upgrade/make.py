"""Write the upgrade fixture of the version in a checkout: `cd CHECKOUT && .venv/bin/python .../make.py FOLDER`.

The installation has two released versions, a third one that was killed before its tag, and a canary of version 2 in its bake.
Each version of the software commits its own into `tests/upgrade/COMMIT`; the folder's name is part of the stream files' names.
Times and git commits differ from run to run; the stream, the tables and the lists of films do not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))  # the version's own code, from wherever this file is

from app.journal import Row, to_line
from app.provenance import Ledger, with_times
from auto_deployment.release import state
from auto_deployment.release.services import FIRST, Slot
from auto_deployment.release.state_machine import Rollout, Step

CODE = ("app", "auto_deployment", "scripts/lib", ".dvc", ".dvcignore", ".gitignore", ".gitattributes", "data/version.txt")
CLOCK = 1_767_600_000.0  # 2026-01-05T08:00:00Z, seconds since 1970
KILL_AT_TAG = '#!/bin/sh\ncase "$*" in tag\\ --annotate*) kill -9 "$PPID"; exit 1;; esac\nexec "{git}" "$@"\n'
STREAMS = Path("/var/tmp/movierec-upgrade")  # the marks hold the files' names: a test puts them there again
NEW_USER = 999_999_999
KNOWN_USERS = 6
WAITING = 3  # answers that are in a journal, and not in the database yet


class Maker:
    """The installation while it is made, below `base`."""

    def __init__(self, base: Path, streams: Path) -> None:
        self.streams = streams
        self.base, self.code, self.host = base, Path.cwd(), base / "host"
        (base / "gitconfig").write_text("[user]\n name = Example\n email = ops@example.org\n[init]\n defaultBranch = main\n")
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        stamp = f"{CLOCK:.0f} +0000"
        self.environment = {
            **kept,
            "HOME": str(base),
            "PYTHONPATH": str(self.code),
            "GIT_CONFIG_GLOBAL": str(base / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_DATE": stamp,
            "GIT_COMMITTER_DATE": stamp,
            "DVC_SITE_CACHE_DIR": str(base / "site"),
            "APP_IMAGE": "movierec-upgrade",
        }
        self.answers: list[dict[str, object]] = []

    def command(self, *command: str, status: int = 0, **settings: str) -> str:
        """Run a program in the host's checkout; what it printed."""
        environment = {**self.environment, **settings}
        ended = subprocess.run(
            command, cwd=self.host, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        if ended.returncode != status:
            raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}, not {status}: {ended.stdout}{ended.stderr}")
        return ended.stdout

    def make_checkout(self) -> None:
        """A clone with the version's code, and its remotes."""
        listed = subprocess.run(["git", "ls-files", "-z", "--", *CODE], capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            (self.host / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.code / name, self.host / name)
        self.command("git", "init", "--quiet")
        self.command("git", "add", "--all")
        self.command("git", "commit", "--quiet", "-m", "The code")
        self.command("git", "init", "--quiet", "--bare", str(self.base / "remote.git"))
        self.command("git", "remote", "add", "origin", str(self.base / "remote.git"))
        self.command("git", "push", "--quiet", "--set-upstream", "origin", "main")
        (self.host / ".dvc" / "config.local").write_text(f"['remote \"local\"']\n    url = {self.base / 'dvc'}\n")

    def make_stream(self) -> None:
        """The simulator's lines, in a file for each run: the first has as many as the others together."""
        whole = self.base / "stream.log"
        world = ("--seed", "7", "--users", "300", "--films", "60", "--ratings", "3000", "--minutes-share", "0.1")
        days = ("--start", "2026-01-01T08:00:00", "--days", "4", "--quiet", "--output", str(whole))
        self.command(sys.executable, "-m", "scripts.simulator", "stream", *world, *days)
        lines = whole.read_bytes().splitlines(keepends=True)
        edges = [0, len(lines) // 2, len(lines) * 3 // 4, len(lines)]
        for number in (1, 2, 3):
            (self.streams / f"{number}.log").write_bytes(b"".join(lines[edges[number - 1] : edges[number]]))

    def release(self, number: int, *, killed: bool = False) -> None:
        """One run of the pipeline; one that is killed has made its commit and no tag."""
        settings, status = {"RANKER": "popularity"}, 0
        if killed:
            tools = self.base / "bin"
            tools.mkdir()
            (tools / "git").write_text(KILL_AT_TAG.format(git=shutil.which("git")))
            (tools / "git").chmod(0o755)
            settings["PATH"], status = f"{tools}:{self.environment['PATH']}", -signal.SIGKILL
        inputs = [part for each in range(1, number + 1) for part in ("--input", str(self.streams / f"{each}.log"))]
        self.command(sys.executable, "-m", "auto_deployment.auto_deploy", *inputs, status=status, **settings)

    def answer(self, number: int) -> None:
        """The answers that a service of this version gives."""
        rows = (self.host / "data" / "clean_rating.csv").read_text().splitlines()[1:]
        users = sorted({int(row.split(",")[0]) for row in rows})[:KNOWN_USERS]
        for user in (*users, NEW_USER):
            told = json.loads(self.command(sys.executable, "-m", "app.answer", str(user), MODEL_DIR="data/model"))
            self.answers.append({"request": f"v{number}-{user}", "user": user, **told})

    def rows(self) -> list[Row]:
        """The answers as rows of `reccom`."""
        return [
            Row(
                f"{int(CLOCK * 1e6) + at:032x}",
                str(told["request"]),
                int(str(told["user"])),
                int(str(told["version"])),
                "stable" if told["version"] == 1 else "canary",
                int(CLOCK * 1e6) + at,
                str(told["step"]),
                str(told["digest"]),
            )
            for at, told in enumerate(self.answers)
        ]

    def fill_database(self, out: Path) -> None:
        """Put `tracking`, and `reccom` but for what waits in a journal of which the database has the first bytes."""
        file, journal = self.base / "provenance.sqlite", "stable-1/1767600000-example.tsv"
        rows = self.rows()
        lines = [to_line(row) for row in rows]
        with closing(Ledger(f"sqlite:///{file}")) as ledger:
            ledger.create()
            pending = json.loads((self.host / "data" / "tracking_pending.json").read_text())["rows"]
            ledger.track(with_times(pending[0]))  # version 2 still waits in the file
            ledger.add_answers(journal, rows[:-WAITING], len(b"".join(lines[:-WAITING])))
        (out / "journals" / "stable-1").mkdir(parents=True)
        (out / "journals" / journal).write_bytes(b"".join(lines))
        with closing(sqlite3.connect(file)) as database:
            (out / "database.sql").write_text("\n".join(database.iterdump()) + "\n")

    def bake(self) -> None:
        """Version 1 is in service; the canary of version 2 has baked for a minute when the controller is killed."""
        canary = {**FIRST, "stable-1": Slot("model-1", "stable"), "stable-2": Slot("model-1", "stable")}
        before = {**canary, "canary": Slot("model-1", "stable")}
        began = CLOCK - 120
        rollout = Rollout(
            "release",
            2,
            1,
            "ops",
            began,
            "2-20260105T075800Z",
            Step.BAKE,
            before=before,
            image="sha256:" + "2" * 64,
            boot="00000000-0000-0000-0000-000000000000",
            bake_began=CLOCK - 60,
            bake_uptime=1000.0,
            entered=CLOCK - 60,
        )
        slots = {**canary, "canary": Slot("model-2", "canary")}
        state.save(self.host / state.FOLDER, state.State(1, CLOCK - 86400, slots, (), {}, rollout))


def pack(path: Path, root: Path, names: list[str]) -> None:
    """Write files and folders below `root` as an archive without owners and times."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = int(CLOCK)
        return member

    with tarfile.open(path, "w:xz") as archive:
        for name in sorted(names):
            archive.add(root / name, arcname=name, filter=plain)


def main(target: str) -> None:
    """Write the fixture into the folder `target`, which must not be there yet."""
    out = Path(target).absolute()
    out.mkdir(parents=True)
    streams = STREAMS / out.name
    streams.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        maker = Maker(Path(folder), streams)
        maker.host.mkdir()
        maker.make_checkout()
        maker.make_stream()
        for number in (1, 2):
            maker.release(number)
            maker.answer(number)
        maker.fill_database(out)
        maker.release(3, killed=True)
        maker.bake()
        maker.command("git", "bundle", "create", "--quiet", str(out / "host.bundle"), "--all")
        pack(out / "dvc.tar.xz", maker.base, ["dvc"])
        pack(out / "stack.tar.xz", maker.host, [".stack"])
        ignored = maker.command("git", "ls-files", "--others", "-z", "--", "data", ".dvc/cache").split("\0")
        pack(out / "data.tar.xz", maker.host, [name for name in ignored if name])
        for number in (1, 2, 3):
            pack(out / f"stream-{number}.tar.xz", streams, [f"{number}.log"])
        (out / "answers.json").write_text(json.dumps(maker.answers, indent=1) + "\n")
    shutil.rmtree(streams)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(out)}" for path in files]
    (out / "SHA256SUMS").write_text("\n".join(sums) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
