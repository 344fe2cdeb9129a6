"""Write the upgrade fixture of the version in a checkout: `cd CHECKOUT && .venv/bin/python .../make.py FOLDER`.

The installation has two published versions and a third one that was killed before its tag. The release of version 2 was killed
in its bake. The checkout's own code writes all of it; only the stack and Prometheus are fakes.
Each version of the software commits its own into `tests/upgrade/COMMIT`; the folder's name is part of the stream files' names.
Times and git commits differ from run to run; the stream, the tables and the lists of films do not.

The script fills an empty MySQL on this machine. The environment has `MYSQL_PORT`, `MYSQL_ROOT_PASSWORD_FILE` and `MYSQLDUMP`, a
command that logs in as root. docs/development.md has the commands of a whole run.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))  # the version's own code, from wherever this file is

from app.journal import Row, to_line
from app.provenance import Ledger, mysql_url, with_times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.provenance import TrackingRow

# Modules and classes by their names of today, and the names in version f152959.
FORMER_NAMES = {
    "auto_deployment.common.prometheus": "auto_deployment.prometheus",
    "auto_deployment.common.settings": "auto_deployment.settings",
    "auto_deployment.release.analysis.queries": "auto_deployment.canary.queries",
    "auto_deployment.release.context": "auto_deployment.rollout.tools",
    "auto_deployment.release.controller": "auto_deployment.rollout.controller",
    "auto_deployment.release.preflight": "auto_deployment.rollout.begin",
    "auto_deployment.release.services": "auto_deployment.rollout.slots",
    "auto_deployment.release.shadow_result": "auto_deployment.rollout.shadow",
    "auto_deployment.release.state": "auto_deployment.rollout.record",
    "tests.unit.auto_deployment.release.test_release_controller": "tests.unit.auto_deployment.test_rollout_controller",
    "ReleaseContext": "Tools",
    "ShadowResult": "Shadow",
}


def module(name: str) -> Any:
    """A module of the checkout, by its name of today."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return import_module(FORMER_NAMES[name])


def named(name: str, attribute: str) -> Any:
    """What a module of the checkout defines, both by their names of today."""
    found = module(name)
    return getattr(found, attribute) if hasattr(found, attribute) else getattr(found, FORMER_NAMES[attribute])


CODE = ("app", "auto_deployment", "scripts/lib", ".dvc", ".dvcignore", ".gitignore", ".gitattributes", "data/version.txt")
CLOCK = 1_767_600_000.0  # 2026-01-05T08:00:00Z, seconds since 1970
KILL_AT_TAG = '#!/bin/sh\ncase "$*" in *tag\\ --annotate*) kill -9 "$PPID"; exit 1;; esac\nexec "{git}" "$@"\n'
STREAMS = Path("/var/tmp/movierec-upgrade")  # the marks hold the files' names: a test puts them there again
NEW_USER = 999_999_999
KNOWN_USERS = 6
WAITING = 3  # answers that are in a journal, and not in the database yet
JOURNAL = "stable-1/1767600000-example.tsv"
SHIP_SECONDS = 60.0

BAKE: dict[str, Any] = {"canary_bake_minutes": 60, "canary_max_bake_minutes": 120, "canary_check_seconds": 60}
KILLED_AFTER = 20 * 60.0  # seconds of the bake
BOOTED = CLOCK - 1000.0
BOOT = "00000000-0000-0000-0000-000000000000"  # the kernel's name of a start; no machine has this one
EDGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)  # seconds
MEDIAN = 0.004  # seconds, of an answer


class Traffic:
    """A Prometheus with steady traffic since long before the bake. After `since` the canary takes `slower` times as long."""

    def __init__(self, slower: float = 1.0, since: float = math.inf) -> None:
        self._slower, self._since = slower, since

    def over(self, query: str, start: float, end: float, step: float) -> list[Any]:
        """The values of a query at its steps."""
        series = module("auto_deployment.common.prometheus").Series
        (asked,) = (each for each in module("auto_deployment.release.analysis.queries").QUERIES if each.text == query)
        times = [round(start + number * step, 3) for number in range(int((end - start) / step + 1e-6) + 1)]
        name = f"{asked.source} {asked.key}"
        both = zip(_series(name, MEDIAN), _series(name, MEDIAN * self._slower), strict=True)
        if asked.kind == "gauge":
            return [series(labels, dict.fromkeys(times, value)) for (labels, value), _ in both]
        return [series(labels, {at: self._counted(at, before, after) for at in times}) for (labels, before), (_, after) in both]

    def _counted(self, at: float, before: float, after: float) -> float:
        turned = requests(min(at, self._since))
        return before * turned + after * (requests(at) - turned)


def _series(name: str, canary: float) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each series of a query. A counter's value is for one request; `canary` is the canary's median."""
    found: list[tuple[dict[str, str], float]] = []
    for service, version, share, median in (
        ("canary", "2", 1.0, canary),
        ("stable-1", "1", 2.0, MEDIAN),
        ("stable-2", "1", 2.0, MEDIAN),
    ):
        known = {"service": service, "version": version}
        buckets = [({**known, "le": f"{edge:g}"}, share * edge / (edge + median)) for edge in EDGES]
        found += {
            "service le {le}": [*buckets, ({**known, "le": "+Inf"}, share)],
            "service seconds": [(known, share * median * 1.5)],
            "service started": [(known, BOOTED)],
            "service exits": [(known, 0.0)],
            "service up": [({"service": service}, 1.0)],
            "mtail try {outcome}": [({"service": service, "outcome": "2xx"}, share)],
            "cadvisor memory": [({"service": service}, 1e8)],
        }.get(name, [])
    shared: dict[str, list[tuple[dict[str, str], float]]] = {
        "mtail answer {status_class}": [({"status_class": "2xx"}, 5.0)],
        "mtail up": [({}, 1.0)],
    }
    return found or shared[name]


def requests(at: float) -> float:
    """The canary's requests since its start, with a tide of ten minutes."""
    return 2.0 * (at - BOOTED) + 20.0 * math.sin((at - BOOTED) / 600.0 * math.tau) + 100.0


class Clock:
    """The time of a release, which sleeping moves."""

    def __init__(self, now: float, booted: float = BOOTED) -> None:
        self.time, self._booted = now, booted

    def now(self) -> float:
        """Seconds since 1970."""
        return self.time

    def uptime(self) -> float:
        """Seconds since the machine's start."""
        return self.time - self._booted

    def sleep(self, seconds: float) -> None:
        """Let time go by."""
        self.time += seconds


class FatalClock(Clock):
    """A clock that kills its process at a time, as `kill -9` does."""

    def __init__(self, now: float, until: float) -> None:
        super().__init__(now)
        self._until = until

    def sleep(self, seconds: float) -> None:
        """Let time go by, or die."""
        super().sleep(seconds)
        if self.time >= self._until:
            os.kill(os.getpid(), signal.SIGKILL)


class Server:
    """The MySQL that the environment names."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._port = int(os.environ["MYSQL_PORT"])
        self._passwords = {name: f"of the {name}" for name in ("service", "host")}
        files = {name: base / f"{name}_password" for name in self._passwords}
        for name, path in files.items():
            path.write_text(f"{self._passwords[name]}\n")
        self.settings = {
            "MYSQL_PORT": str(self._port),
            "MYSQL_DATABASE": "movierec",
            "MYSQL_ROOT_PASSWORD_FILE": os.environ["MYSQL_ROOT_PASSWORD_FILE"],
            "SERVICE_PASSWORD_FILE": str(files["service"]),
            "HOST_PASSWORD_FILE": str(files["host"]),
            "PROVENANCE_KEEP_DAYS": "3650",  # the answers are of the day of CLOCK, whenever this runs
            "MODEL_DIR": str(base / "no-model"),
            "MYSQL_USER": "movierec_service",
            "MYSQL_PASSWORD_FILE": str(files["service"]),
        }

    def ledger(self, account: str) -> Ledger:
        """The database as an account has it."""
        return Ledger(mysql_url("127.0.0.1", self._port, "movierec", f"movierec_{account}", self._passwords[account]))

    def dump(self) -> str:
        """The whole database as SQL."""
        options = ("--single-transaction", "--no-tablespaces", "--routines", "--skip-dump-date", "--set-gtid-purged=OFF")
        command = [*shlex.split(os.environ["MYSQLDUMP"]), *options, "movierec"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


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
            parsed = json.loads(self.command(sys.executable, "-m", "app.answer", str(user), MODEL_DIR="data/model"))
            self.answers.append({"request": f"v{number}-{user}", "user": user, **parsed})

    def rows(self) -> list[Row]:
        """The answers as rows of `reccom`."""
        return [
            Row(
                f"{int(CLOCK * 1e6) + at:032x}",
                str(found["request"]),
                int(str(found["user"])),
                int(str(found["version"])),
                "stable" if found["version"] == 1 else "canary",
                int(CLOCK * 1e6) + at,
                str(found["step"]),
                str(found["digest"]),
            )
            for at, found in enumerate(self.answers)
        ]

    def fill_databases(self, out: Path) -> None:
        """`tracking` has version 1. The database has taken the first bytes of a journal: `reccom` lacks the last answers."""
        rows = self.rows()
        lines = [to_line(row) for row in rows]
        pending = json.loads((self.host / "data" / "tracking_pending.json").read_text())["rows"]
        first = with_times(pending[0])  # version 2 still waits in the file
        self._fill_sqlite(out, rows[:-WAITING], first, len(b"".join(lines[:-WAITING])))
        self._fill_mysql(out, lines, first)
        (out / "journals" / JOURNAL).parent.mkdir(parents=True)
        (out / "journals" / JOURNAL).write_bytes(b"".join(lines))

    def _fill_sqlite(self, out: Path, rows: Sequence[Row], first: TrackingRow, taken: int) -> None:
        file = self.base / "provenance.sqlite"
        with closing(Ledger(f"sqlite:///{file}")) as ledger:
            ledger.create()
            ledger.track(first)
            ledger.add_answers(JOURNAL, rows, taken)
        with closing(sqlite3.connect(file)) as database:
            (out / "database.sql").write_text("\n".join(database.iterdump()) + "\n")

    def _fill_mysql(self, out: Path, lines: Sequence[bytes], first: TrackingRow) -> None:
        """With the version's migrations and its shipper. The shipper ends while a service still writes the journal."""
        server = Server(self.base)
        self.command(sys.executable, "-m", "app.migrate", status=0, **server.settings)
        with closing(server.ledger("host")) as ledger:
            ledger.track(first)
        journal = self.base / "journals" / JOURNAL
        journal.parent.mkdir(parents=True)
        journal.write_bytes(b"".join(lines[:-WAITING]))
        with journal.open("rb") as written, closing(server.ledger("service")) as ledger:
            fcntl.flock(written, fcntl.LOCK_EX)
            settings = {**self.environment, **server.settings, "JOURNAL_DIR": str(self.base / "journals")}
            shipper = subprocess.Popen([sys.executable, "-m", "app.shipper"], cwd=self.host, env=settings)
            until = time.monotonic() + SHIP_SECONDS
            while ledger.taken() != {JOURNAL: journal.stat().st_size}:
                if shipper.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"the shipper has not brought the journal within {SHIP_SECONDS:g} s")
                time.sleep(0.1)
            shipper.terminate()
            shipper.wait(SHIP_SECONDS)
        (out / "mysql.sql").write_text(server.dump())

    def bake(self) -> None:
        """Version 1 is in service. The controller of version 2 is killed amid its bake."""
        child = os.fork()
        if child == 0:
            try:
                self._release_until_killed()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise SystemExit(f"the release was not killed in its bake: it ended with {status}")

    def _release_until_killed(self) -> None:
        state, fakes = (
            module("auto_deployment.release.state"),
            module("tests.unit.auto_deployment.release.test_release_controller"),
        )
        slot, services = module("auto_deployment.release.services").Slot, module("auto_deployment.release.services").SERVICES
        folder = self.host / state.FOLDER
        stack = fakes.FakeStack()
        stack.images = {"stable": "sha256:1", "model-1": "sha256:1", "model-2": "sha256:2"}
        stack.runs = {name: slot("model-1", "stable") for name in services}
        initial = state.INITIAL if hasattr(state, "INITIAL") else state.State()
        state.save(folder, replace(initial, in_service=1, since=CLOCK - 86400, slots=dict(stack.runs)))
        settings = module("auto_deployment.common.settings").Settings(
            data_dir=self.host / "data", log_dir=self.base / "logs", **BAKE
        )
        clock = FatalClock(CLOCK, CLOCK + KILLED_AFTER)
        shown = named("auto_deployment.release.shadow_result", "ShadowResult")(
            fakes.ORDINARY, fakes.ORDINARY, 1.0, "recorded", ()
        )
        times = clock.now, clock.uptime, clock.sleep
        kind = type("Tools", (named("auto_deployment.release.context", "ReleaseContext"),), {"boot": BOOT})
        tools = kind(settings, self.host, folder, stack, Traffic(), [fakes.Mailbox()], lambda *_: shown, *times)
        module("auto_deployment.release.preflight").release(tools, 2, "ops", again=False, shadow=True)
        module("auto_deployment.release.controller").Controller(tools, fakes.NoStop()).run()


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
        maker.fill_databases(out)
        maker.bake()
        maker.release(3, killed=True)
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
