"""What each earlier version left is continued by the code of today, see `make.py`: nothing is lost, nothing is made twice."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.provenance import Ledger
from app.shipper import Shipper
from auto_deployment.release import state as release_state
from auto_deployment.release.state_machine import Ending, Request, Step, asked, done
from tests.integration.checkout import Checkout

HERE = Path(__file__).parent
FIXTURES = sorted(path.parent for path in HERE.glob("*/SHA256SUMS"))
STREAMS = Path("/var/tmp/movierec-upgrade")  # as in make.py: the marks hold the files' names
MOST_BYTES = 2_000_000

pytestmark = pytest.mark.slow


class Installation(Checkout):
    """The fixture, set up as a host with its remotes."""

    def __init__(self, fixture: Path, base: Path) -> None:
        self.fixture, self.base = fixture, base
        super().__init__(base / "host", base)
        self.database = base / "provenance.sqlite"
        with closing(sqlite3.connect(self.database)) as database:
            database.executescript((fixture / "database.sql").read_text())
        self.url = f"sqlite:///{self.database}"
        self.environment["PROVENANCE_URL"] = self.url
        self.environment["PYTHONSAFEPATH"] = "1"  # the code of today: the host's folder holds that of the fixture

    def _make(self, base: Path) -> None:
        (base / "gitconfig").write_text("[user]\n name = Test\n email = test@example.org\n[init]\n defaultBranch = main\n")
        self.command("git", "init", "--quiet", "--bare", str(self.remote), cwd=base)
        self.command("git", "init", "--quiet", str(self.folder), cwd=base)
        bundle = str(self.fixture / "host.bundle")
        self.command("git", "fetch", "--quiet", "--update-head-ok", bundle, "refs/*:refs/*")
        self.command("git", "reset", "--quiet", "--hard", "main")
        self.command("git", "remote", "add", "origin", str(self.remote))
        self.command("git", "push", "--quiet", "origin", "refs/remotes/origin/main:refs/heads/main", "--tags")
        for name, to in (("dvc", base), ("data", self.folder), ("stack", self.folder)):
            unpack(self.fixture / f"{name}.tar.xz", to)

    def read_again(self) -> subprocess.CompletedProcess[str]:
        """A run that reads all of the stream again, from the place that the marks name."""
        streams = STREAMS / self.fixture.name
        streams.mkdir(parents=True, exist_ok=True)
        with (STREAMS / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # tests of another checkout use the same place, for RUN_SECONDS at most
            for number in (1, 2, 3):
                unpack(self.fixture / f"stream-{number}.tar.xz", streams)
            return self.run(*(part for number in (1, 2, 3) for part in ("--input", str(streams / f"{number}.log"))))

    def provenance(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """`scripts/provenance ... --json`: status, output and errors."""
        ended = subprocess.run(
            [sys.executable, "-m", "auto_deployment.provenance", *arguments, "--json"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return ended.returncode, json.loads(ended.stdout or "{}"), ended.stderr

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """What the database holds."""
        with closing(sqlite3.connect(self.database)) as database:
            return database.execute(query).fetchall()


def unpack(archive: Path, to: Path) -> None:
    """Extract an archive of the fixture."""
    with tarfile.open(archive) as opened:
        opened.extractall(to, filter="data")


def pairs(path: Path) -> list[tuple[str, ...]]:
    """The rows of a table."""
    with path.open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


@pytest.fixture(params=FIXTURES, ids=lambda path: path.name)
def fixture(request: pytest.FixtureRequest) -> Path:
    """The folder of each version."""
    path: Path = request.param
    return path


@pytest.fixture
def installation(fixture: Path, tmp_path: Path) -> Installation:
    """An installation of each version."""
    return Installation(fixture, tmp_path)


def test_there_is_a_fixture() -> None:
    """Without one the other tests would test nothing."""
    assert FIXTURES


def test_a_fixture_is_small_and_as_it_was_made(fixture: Path) -> None:
    """Its checksums cover all of its files."""
    lines = [line.partition("  ") for line in (fixture / "SHA256SUMS").read_text().splitlines()]
    sums = {name: checksum for checksum, _, name in lines}
    files = {str(path.relative_to(fixture)): path for path in fixture.rglob("*") if path.is_file()}
    assert sums.keys() == files.keys() - {"SHA256SUMS"}
    assert {name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in sums} == sums
    assert sum(path.stat().st_size for path in files.values()) < MOST_BYTES


def test_the_half_done_version_is_finished_once(installation: Installation) -> None:
    """Killed after its commit: it gets its tag, its push and its rows; no row, commit or version is made twice."""
    commits = installation.command("git", "log", "--format=%H")
    before = pairs(installation.data("clean_rating.csv"))
    assert "model-3" not in installation.command("git", "tag", "--list")
    for _ in range(2):  # the second run finds nothing new
        ended = installation.read_again()
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert installation.command("git", "log", "--format=%H") == commits
    assert installation.command("git", "rev-parse", "main") == installation.command("git", "rev-parse", "origin/main")
    assert installation.command("git", "rev-parse", "model-3^{commit}") == commits.splitlines()[0]
    assert installation.command("git", "tag", "--list").split() == ["model-1", "model-2", "model-3"]
    assert len(installation.command("git", "ls-remote", "--tags", "--refs", "origin").splitlines()) == 3
    assert pairs(installation.data("clean_rating.csv")) == before
    assert installation.data("version.txt").read_text() == "3\n"
    assert not installation.data("release.json").exists()
    assert installation.ask("select version_number from tracking order by 1") == [(1,), (2,), (3,)]
    tables = {name: installation.data(name).read_bytes() for name in ("clean_rating.csv", "clean_watch.csv")}
    for name in tables:
        installation.data(name).unlink()
    installation.command(sys.executable, "-m", "auto_deployment.restore")  # from the parts of all versions
    assert {name: installation.data(name).read_bytes() for name in tables} == tables


def test_answers_that_wait_in_a_journal_are_brought_once(installation: Installation) -> None:
    """The database has the journal's first bytes: the rest follows, and no row comes twice."""
    answers = json.loads((installation.fixture / "answers.json").read_text())
    assert len(installation.ask("select * from reccom")) < len(answers)
    journals = installation.base / "journals"
    for path in (installation.fixture / "journals").rglob("*.tsv"):
        copy = journals / path.parent.name / path.name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(path.read_bytes())
    with closing(Ledger(installation.url)) as ledger:
        ledger.create()
        shipper = Shipper(journals, ledger, 1000)
        for _ in range(2):
            shipper.ship()
    found = installation.ask("select request_id, user_id, version_number, digest from reccom order by answer_id")
    assert found == [(each["request"], each["user"], each["version"], each["digest"]) for each in answers]


def test_every_old_answer_is_replayed_to_the_byte(installation: Installation) -> None:
    """By the code of today, with each version's own model from the DVC remote."""
    answers = {each["request"]: each for each in json.loads((installation.fixture / "answers.json").read_text())}
    requests = [request for (request,) in installation.ask("select request_id from reccom order by answer_id")]
    assert {answers[request]["version"] for request in requests} == {1, 2}
    for request in requests:
        status, output, errors = installation.provenance("replay", request, "--here")
        assert (status, output.get("same")) == (0, True), (request, errors)
        assert output["computed"]["body"] == answers[request]["body"]


def test_the_release_under_way_is_read_and_can_be_ended(installation: Installation) -> None:
    """A canary of version 2 bakes while 1 serves; its next steps are known, and an abort withdraws it."""
    folder = installation.folder / release_state.FOLDER
    state = release_state.load(folder)
    rollout = state.under_way
    assert rollout is not None
    assert (state.in_service, rollout.version, rollout.replaces, rollout.step) == (1, 2, 1, Step.BAKE)
    assert done(rollout).step == Step.STABLE_1
    aborted = asked(rollout, Request("abort", "ops"))
    assert (aborted.step, aborted.ending) == (Step.WITHDRAW, Ending.ABORTED)
    release_state.save(folder, state.ended(aborted, rollout.began + 600, false_alarm=None))
    after = release_state.load(folder)
    assert (after.under_way, after.in_service, after.taken_back) == (None, 1, {"2": "aborted"})
