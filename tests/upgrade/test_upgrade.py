"""What each earlier version left is continued by the code of today, see `make.py`: nothing is lost, nothing is made twice."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from app.provenance import Ledger
from app.shipper import Shipper
from auto_deployment.common import database as duck
from auto_deployment.common.settings import Settings
from auto_deployment.ingestion.watch_parts import relation
from auto_deployment.release import bake
from auto_deployment.release import state as release_state
from auto_deployment.release.__main__ import DeployCommand, _options
from auto_deployment.release.context import ReleaseContext
from auto_deployment.release.services import SERVICES, Slot
from auto_deployment.release.state_machine import Ending, OperatorRequest, ReleaseStep, apply_request, step_done
from tests.integration.checkout import ROOT, Checkout
from tests.integration.mysql.server import ROOT_PASSWORD, Database, NoEngineError, docker
from tests.unit.auto_deployment.release.test_release_controller import FakeStack, Mailbox
from tests.upgrade.make import BAKE, BOOT, CLOCK, KILLED_AFTER, STREAMS, WAITING, Clock, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auto_deployment.release.analysis.evidence import Evidence
    from auto_deployment.release.services import Slots
    from tests.integration.mysql.server import Server

HERE = Path(__file__).parent
SAMPLE = ROOT / "data" / "sample" / "movielog.log"
FIXTURES = sorted(path.parent for path in HERE.glob("*/SHA256SUMS"))
MOST_BYTES = 2_000_000
BUILD_SECONDS = 900.0
RESUMED = CLOCK + KILLED_AFTER + 600.0  # the upgrade took ten minutes
BAKE_SECONDS, CHECK_SECONDS = 60.0 * BAKE["canary_bake_minutes"], float(BAKE["canary_check_seconds"])
# Operators ask this as it stands.
WHICH_VERSION = (
    "select A.version_number, A.user_id, B.data_creation, B.trained_on, B.model_rmse "
    "from reccom A, tracking B where A.version_number = B.version_number"
)
TRACKED = (
    "select version_number, data_creation, trained_on, model_rmse, git_commit, data_md5, model_md5 from tracking order by 1"
)
OLD_ROWS = (
    "select answer_id, day, request_id, user_id, version_number, track, served_at, step, digest, inputs from reccom order by 1",
    TRACKED,
    "select journal, bytes_taken from journal_marks order by 1",
)
MIGRATIONS = "select number from schema_migrations order by 1"
ANSWERS = "select request_id, user_id, version_number, digest from reccom order by answer_id"

pytestmark = pytest.mark.slow


class SQLite:
    """The database of a demo. `service` is its URL for the shipper, `host` is the URL for the host's commands."""

    def __init__(self, fixture: Path, base: Path) -> None:
        self._path = base / "provenance.sqlite"
        with closing(sqlite3.connect(self._path)) as database:
            database.executescript((fixture / "database.sql").read_text())
        self.service = self.host = f"sqlite:///{self._path}"

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """What the database holds."""
        with closing(sqlite3.connect(self._path)) as database:
            return database.execute(query).fetchall()


class MySQL(Database):
    """The database of a stack, restored from the dump and not migrated yet."""

    def __init__(self, fixture: Path, base: Path, server: Server) -> None:
        super().__init__(server, base)
        self.settings["PROVENANCE_KEEP_DAYS"] = "3650"  # the answers are of one day, whenever this runs
        with closing(server.connect(None, "root", ROOT_PASSWORD)) as connection, connection.cursor() as cursor:
            for statement in (f"create database {self.name}", f"use {self.name}", *statements(fixture / "mysql.sql")):
                cursor.execute(statement)


def statements(dump: Path) -> Iterator[str]:
    """The statements of a dump, cut as MySQL's own client cuts them."""
    delimiter, lines = ";", list[str]()
    for line in dump.read_text().splitlines():
        if line.startswith("DELIMITER "):
            delimiter = line.split()[1]
        elif line and not line.startswith("--"):
            lines.append(line)
            if line.endswith(delimiter):
                yield "\n".join(lines).removesuffix(delimiter)
                lines.clear()
    assert not lines


class Installation(Checkout):
    """The fixture, set up as a host with its remotes and one of the databases."""

    def __init__(self, fixture: Path, base: Path, database: SQLite | MySQL) -> None:
        self.fixture, self.base, self.database = fixture, base, database
        super().__init__(base / "host", base)
        # The .env of f152959 names that version's driver.
        self.environment["PROVENANCE_URL"] = database.host.replace("mysql+mysqlconnector:", "mysql+pymysql:")
        self.environment["PYTHONSAFEPATH"] = "1"  # the code of today: the host's folder holds that of the fixture
        self.answers = json.loads((fixture / "answers.json").read_text())

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
        # The new .gitignore comes with the new code.
        (self.folder / ".git" / "info" / "exclude").write_text((ROOT / ".gitignore").read_text())

    def read_again(self) -> subprocess.CompletedProcess[str]:
        """A run that reads all of the stream again, from the place that the marks name."""
        streams = STREAMS / self.fixture.name
        streams.mkdir(parents=True, exist_ok=True)
        with (STREAMS / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # tests of another checkout use the same place, for RUN_SECONDS at most
            for number in (1, 2, 3):
                unpack(self.fixture / f"stream-{number}.tar.xz", streams)
            return self.run(*(part for number in (1, 2, 3) for part in ("--input", str(streams / f"{number}.log"))))

    def provenance(self, *arguments: str, seconds: float = 120.0) -> tuple[int, dict[str, Any], str]:
        """`scripts/provenance ... --json`: status, output and errors."""
        ended = subprocess.run(
            [sys.executable, "-m", "auto_deployment.provenance", *arguments, "--json"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return ended.returncode, json.loads(ended.stdout or "{}"), ended.stderr

    def ship(self) -> None:
        """Twice, what waits in the journals."""
        journals = self.base / "journals"
        for path in (self.fixture / "journals").rglob("*.tsv"):
            copy = journals / path.parent.name / path.name
            copy.parent.mkdir(parents=True)
            copy.write_bytes(path.read_bytes())
        with closing(Ledger(self.database.service)) as ledger:
            ledger.create()
            shipper = Shipper(journals, ledger, 1000)
            for _ in range(2):
                shipper.ship()

    def expected(self, answers: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        """What `ANSWERS` gives for these."""
        return [(each["request"], each["user"], each["version"], each["digest"]) for each in answers]


def unpack(archive: Path, to: Path) -> None:
    """Extract an archive of the fixture."""
    to.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "--extract", "--no-same-owner", "--file", archive, "--directory", to], check=True)


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
def mysql(fixture: Path, tmp_path: Path, server: Server) -> Iterator[MySQL]:
    """A database in MySQL of each version."""
    made = MySQL(fixture, tmp_path, server)
    yield made
    made.drop()


@pytest.fixture(params=["SQLite", "MySQL"])
def installation(request: pytest.FixtureRequest, fixture: Path, tmp_path: Path) -> Installation:
    """An installation of each version with each database, which is up to date."""
    if request.param == "SQLite":
        return Installation(fixture, tmp_path, SQLite(fixture, tmp_path))
    database: MySQL = request.getfixturevalue("mysql")
    database.migrate()
    return Installation(fixture, tmp_path, database)


class Stack(FakeStack):
    """The services as the old code left them, with the images of versions 1 and 2."""

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self.runs = dict(slots)
        self.images = {"stable": "sha256:1", "model-1": "sha256:1", "model-2": "sha256:2"}

    def container(self, service: str) -> SimpleNamespace | None:
        """A container with a name, and not running for the engine."""
        return None if self.runs[service] is None else SimpleNamespace(name=f"movierec-{service}-1", running=False)


class Release:
    """The release of the fixture, and the commands of today."""

    def __init__(self, fixture: Path, base: Path, traffic: Traffic, *, rebooted: bool) -> None:
        unpack(fixture / "stack.tar.xz", base)
        folder = base / release_state.FOLDER
        rollout = release_state.load(folder).under_way
        assert rollout is not None
        self.rollout = rollout
        self.stack, self.mailbox = Stack(release_state.load(folder).slots), Mailbox()
        clock = Clock(RESUMED, RESUMED - 60.0) if rebooted else Clock(RESUMED)
        times = clock.now, clock.uptime, clock.sleep
        settings = Settings(data_dir=base / "data", log_dir=base / "logs", **BAKE)
        stack: Any = self.stack
        self.tools = ReleaseContext(settings, base, folder, stack, traffic, [self.mailbox], self.no_shadow, *times)
        if not rebooted:
            path = folder / release_state.FILE
            path.write_text(path.read_text().replace(BOOT, self.tools.boot))

    def no_shadow(self, *_: object) -> Any:
        """The shadow was before the kill."""
        raise AssertionError("the version is shadowed again")

    def command(self, name: str) -> int:
        """`scripts/deploy.sh NAME`: the exit status."""
        status: int = getattr(DeployCommand(self.tools, _options([name, "--by", "ann"])), name)()
        return status

    @property
    def state(self) -> release_state.ReleaseState:
        """As it is on the disk."""
        return release_state.load(self.tools.folder)

    @property
    def evidence(self) -> Evidence:
        """What is known of the bake."""
        return bake.load(self.tools.folder / self.rollout.folder, self.rollout)


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
    tracked = installation.database.ask(TRACKED)
    shipped = sorted((user, version) for _, user, version, _ in installation.database.ask(ANSWERS))
    assert len(shipped) == len(installation.answers) - WAITING
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
    assert installation.database.ask("select version_number from tracking order by 1") == [(1,), (2,), (3,)]
    assert installation.database.ask(TRACKED)[:1] == tracked
    served = installation.database.ask(WHICH_VERSION)
    assert sorted((user, version) for version, user, *_ in served) == shipped
    assert all(value is not None for row in served for value in row)
    table = installation.data("clean_rating.csv").read_bytes()
    for name in ("clean_rating.csv", "clean_watch.csv"):
        installation.data(name).unlink()
    installation.command(sys.executable, "-m", "auto_deployment.restore")  # from the parts of all versions
    assert installation.data("clean_rating.csv").read_bytes() == table


def test_watches_are_converted_once_and_named_by_the_next_version(installation: Installation, tmp_path: Path) -> None:
    """No minute is lost or doubled, and the CSV parts stay until the commit that names the converted ones is pushed."""
    versioning, kept = installation.data("versioning"), installation.data("clean_watch.csv")
    minutes = watched_minutes(kept)
    for moment in (1.0, 2.5, 4.0):  # killed in the midst
        installation.kill_at(moment, "--input", str(SAMPLE))
    assert kept.exists()
    ended = installation.run("--input", str(SAMPLE))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    ended = installation.run("--input", str(SAMPLE))  # the first one may have finished version 3 only
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert installation.data("version.txt").read_text() == "4\n"
    assert not kept.exists()
    assert sorted(path.name for path in versioning.glob("clean_watch_*.dvc")) == [
        f"clean_watch_{number}.parquet.dvc" for number in (1, 2, 3, 4)
    ]
    assert installation.command("git", "status", "--short") == ""
    assert installation.command("git", "rev-parse", "main") == installation.command("git", "rev-parse", "origin/main")
    files = [versioning / f"clean_watch_{number}.parquet" for number in (1, 2, 3)]
    installation.command("dvc", "pull", "--quiet", *(f"{path}.dvc" for path in files))
    with duck.Database(tmp_path / "scratch") as database:
        parts = relation(files)
        rows = database.rows(f"SELECT user_id, movie_id, sum(minutes) FROM {parts} GROUP BY user_id, movie_id")
        assert {(user, film): int(count) for user, film, count in rows} == minutes
        assert database.rows(f"SELECT bool_or(first_known) FROM {parts}") == [(False,)]


def watched_minutes(table: Path) -> dict[tuple[int, str], int]:
    """The minutes of each pair in a table of watches of that time."""
    minutes = Counter[tuple[int, str]]()
    with table.open() as file:
        for row in csv.DictReader(file):
            minutes[int(row["user_id"]), row["movie_id"]] += int(row["minutes"])
    return dict(minutes)


def test_answers_that_wait_in_a_journal_are_brought_once(installation: Installation) -> None:
    """The database has the journal's first bytes: the rest follows, and no row comes twice."""
    database, answers = installation.database, installation.answers
    assert database.ask(ANSWERS) == installation.expected(answers[:-WAITING])
    installation.ship()
    assert database.ask(ANSWERS) == installation.expected(answers)
    (journal,) = (installation.fixture / "journals").rglob("*.tsv")
    ids = [(line.partition("\t")[0],) for line in journal.read_text().splitlines()]
    assert database.ask("select answer_id from reccom order by answer_id") == ids


def test_a_migration_keeps_each_old_row_once(mysql: MySQL) -> None:
    """The old migrations and the old shipper made the tables and rows. A second migration changes nothing either."""
    before, migrations = [mysql.ask(query) for query in OLD_ROWS], mysql.ask(MIGRATIONS)
    assert all(before)
    for _ in range(2):
        mysql.migrate()
        assert [mysql.ask(query) for query in OLD_ROWS] == before
        assert mysql.ask(MIGRATIONS)[: len(migrations)] == migrations
    answers, ((_, *first), *_), _ = before
    assert sorted(mysql.ask(WHICH_VERSION)) == sorted((1, row[3], *first[:3]) for row in answers if row[4] == 1)


def test_every_old_answer_is_replayed_to_the_byte(installation: Installation) -> None:
    """By the code of today, with each version's own model from the DVC remote."""
    installation.ship()
    assert {each["version"] for each in installation.answers} == {1, 2}
    assert installation.database.ask(ANSWERS) == installation.expected(installation.answers)
    for answer in installation.answers:
        status, output, errors = installation.provenance("replay", answer["request"], "--here")
        assert (status, output.get("same")) == (0, True), (answer["request"], errors)
        assert output["computed"]["body"] == answer["body"]


def test_old_answers_are_replayed_in_the_images_of_their_versions(fixture: Path, tmp_path: Path) -> None:
    """Each image is built again from the version's tag, with that version's own Dockerfile and code."""
    try:
        docker("version")
    except NoEngineError as error:
        pytest.skip(str(error))
    installation = Installation(fixture, tmp_path, SQLite(fixture, tmp_path))
    installation.environment["APP_IMAGE"] = repository = f"movierec-test-upgrade-{os.getpid()}"
    installation.ship()
    first = {answer["version"]: answer for answer in reversed(installation.answers)}
    try:
        for number, answer in first.items():
            status, output, errors = installation.provenance("replay", answer["request"], seconds=BUILD_SECONDS)
            assert (status, output.get("same")) == (0, True), errors
            assert output["computed"]["body"] == answer["body"]
            assert output["computed"]["by"] == f"the image built again from model-{number}, {repository}:model-{number}"
    finally:
        for number in first:
            docker("image", "rm", "--force", f"{repository}:model-{number}")


def test_the_release_under_way_is_read_and_can_be_ended(fixture: Path, tmp_path: Path) -> None:
    """A canary of version 2 bakes while 1 serves; its next steps are known, and an abort withdraws it."""
    unpack(fixture / "stack.tar.xz", tmp_path)
    folder = tmp_path / release_state.FOLDER
    state = release_state.load(folder)
    rollout = state.under_way
    assert rollout is not None
    assert (state.in_service, rollout.version, rollout.replaces, rollout.step) == (1, 2, 1, ReleaseStep.BAKE)
    assert step_done(rollout).step == ReleaseStep.STABLE_1
    aborted = apply_request(rollout, OperatorRequest("abort", "ops"))
    assert (aborted.step, aborted.ending) == (ReleaseStep.WITHDRAW, Ending.ABORTED)
    release_state.save(folder, state.ended(aborted, rollout.began + 600, false_alarm=None))
    after = release_state.load(folder)
    assert (after.under_way, after.in_service, after.taken_back) == (None, 1, {"2": "aborted"})


@pytest.mark.parametrize("rebooted", [False, True], ids=["same boot", "rebooted"])
def test_a_release_killed_in_its_bake_is_promoted_once(
    fixture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, rebooted: bool
) -> None:
    """The old code's samples and minutes count in the bake. A second `resume` does nothing and mails nobody."""
    release = Release(fixture, tmp_path, Traffic(), rebooted=rebooted)
    old = release.evidence
    assert old.observations
    assert old.until is not None
    release.command("status")
    assert "release of version 2: bake" in capsys.readouterr().out
    assert release.command("resume") == 0
    state, (end,) = release.state, release.state.ends
    assert (state.under_way, state.in_service, state.served) == (None, 2, (1,))
    assert (end.version, end.ending, end.began, end.notified) == (2, Ending.PROMOTED, release.rollout.began, True)
    away = RESUMED - old.until if rebooted else 0.0
    baked = end.ended - (release.rollout.bake_began or 0.0) - away
    assert BAKE_SECONDS <= baked <= BAKE_SECONDS + 2 * CHECK_SECONDS
    looks = release.evidence.observations
    assert looks[: len(old.observations)] == old.observations
    assert len({look.at for look in looks}) == len(looks) == BAKE_SECONDS / CHECK_SECONDS
    promoted = {name: Slot("model-2", "stable") for name in SERVICES}
    assert release.stack.runs == promoted == dict(state.slots)
    assert [act for act in release.stack.acts if act.startswith("replace")] == [f"replace {name}" for name in SERVICES]
    assert release.mailbox.subjects == ["movierec: version 2 promoted: deployed successfully"]
    acts = len(release.stack.acts)
    assert release.command("resume") == 0
    assert (len(release.stack.acts), len(release.mailbox.subjects), release.state) == (acts, 1, state)
    capsys.readouterr()
    release.command("status")
    output = capsys.readouterr().out
    assert "under way     nothing" in output
    assert "version 2 promoted" in output


def test_a_release_killed_in_its_bake_is_taken_back_once(
    fixture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The canary is slower since the kill: version 1 stays in service, one mail goes out, and version 2 is taken back."""
    release = Release(fixture, tmp_path, Traffic(3.0, since=RESUMED), rebooted=False)
    assert release.command("resume") == 3
    state, (end,) = release.state, release.state.ends
    assert (state.under_way, state.in_service, dict(state.taken_back)) == (None, 1, {"2": "aborted"})
    assert (end.version, end.ending, end.notified) == (2, Ending.ABORTED, True)
    assert any("times that of stable-1 and stable-2" in reason for reason in end.reasons)
    stable = Slot("model-1", "stable")
    assert release.stack.runs == {"stable-1": stable, "stable-2": stable, "canary": None} == dict(state.slots)
    assert release.stack.asked == {"stable-1", "stable-2"}
    assert [act for act in release.stack.acts if act.startswith(("replace", "remove"))] == ["remove canary"]
    assert release.command("resume") == 0
    (subject,) = release.mailbox.subjects
    assert subject.startswith("movierec: canary 2 aborted: ")
    capsys.readouterr()
    release.command("status")
    assert "taken back    2 (aborted)" in capsys.readouterr().out
