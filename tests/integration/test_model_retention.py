"""Models that nobody needs leave a real DVC remote; parts, kept models and everything that they share stay."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.journal import Row
from app.provenance import Ledger
from auto_deployment.common.lock import locked
from auto_deployment.pipeline.restore import LOCK
from auto_deployment.provenance.version_files import GoneError, VersionFiles
from auto_deployment.release.state import FOLDER, INITIAL, save
from auto_deployment.versioning.repository import Places, Versions, message, tag_of
from tests.integration.checkout import ROOT, Checkout

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = [pytest.mark.slow]

SAMPLE = ROOT / "data" / "sample" / "movielog.log"
VERSIONS = 6
DAY = 86_400_000_000  # microseconds
TURNS, KILLS = 2, 4


class Host(Checkout):
    """A checkout with small models made by hand, which share files with each other and with a part."""

    def __init__(self, base: Path, template: Host | None = None) -> None:
        self._template = template
        super().__init__(base / "host", base)
        self.database = base / "provenance.sqlite"
        self.environment |= {"PROVENANCE_URL": f"sqlite:///{self.database}", "KEEP_MODELS": "2", "LOG_DIR": str(base / "logs")}

    def _make(self, base: Path) -> None:
        if self._template is None:
            super()._make(base)
            return
        shutil.copytree(self._template.folder.parent, base, dirs_exist_ok=True)
        self.command("git", "remote", "set-url", "origin", str(self.remote))

    def version(self, number: int) -> None:
        """Commit a version. Its model shares files with all models, with a neighbour and with the part of version 1."""
        files = {
            "model/metadata.json": f'{{"version": {number}}}',
            "model/own.npy": f"only of {number}",
            "model/shared.npy": "of all",
            "model/pair.npy": f"of {number // 2}",
            "model/as_part.npy": "rating of 1",
            f"versioning/clean_rating_{number}.csv": f"rating of {number}",
            f"versioning/clean_watch_{number}.parquet": f"watch of {number}",
        }
        for name, text in files.items():
            self.data(name).parent.mkdir(parents=True, exist_ok=True)
            self.data(name).write_text(text)
        names = ["data/model", *(f"data/{name}" for name in files if name.startswith("versioning"))]
        self.data("version.txt").write_text(f"{number}\n")
        self.command("dvc", "add", "--quiet", *names)
        self.command("git", "add", "--force", "data/version.txt", *(f"{name}.dvc" for name in names))
        self.command("git", "commit", "--quiet", "-m", message(number))
        self.command("git", "tag", "--annotate", tag_of(number), "-m", message(number))

    def publish(self) -> None:
        """Push everything, and drop from the cache what a run drops."""
        versions = Versions(Places(self.folder, self.data("")), "origin", "main", "local")
        versions.push()
        versions.drop_old(versions.current())

    def answered(self, *numbers: int) -> None:
        """Have the database keep an answer of each of these versions, a day apart."""
        rows = [Row(f"{number:0>32}", f"r{number}", 1, number, "stable", number * DAY, "known", "d" * 16) for number in numbers]
        with closing(Ledger(f"sqlite:///{self.database}")) as ledger:
            ledger.create()
            ledger.add_answers(f"{numbers}.tsv", rows, 1)

    def models(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """The command about models."""
        return subprocess.run(
            [sys.executable, "-m", "auto_deployment.models", *arguments],
            cwd=self.folder,
            env={**self.environment, **settings},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def stored(self) -> set[str]:
        """The objects in the DVC remote."""
        return {f"{path.parent.name}{path.name}" for path in (self.dvc_remote / "files" / "md5").glob("??/*")}

    def has(self, number: int) -> bool:
        """Whether the DVC remote has a version's model with all of its files, and the files are whole."""
        return self._pointer(number) in self.stored() and self.wanted([number]) <= self.stored()

    def wanted(self, numbers: Iterable[int], parts: Iterable[int] = ()) -> set[str]:
        """The objects of these models and parts."""
        found = {self._pointer(number) for number in numbers}
        for number in numbers:
            names = (f'{{"version": {number}}}', f"only of {number}", "of all", f"of {number // 2}", "rating of 1")
            found |= {md5(text) for text in names}
        return found | {md5(f"{name} of {each}") for each in parts for name in ("rating", "watch")}

    def _pointer(self, number: int) -> str:
        pointer = self.command("git", "show", f"{tag_of(number)}:data/model.dvc")
        return pointer.partition("md5: ")[2].split()[0]


def md5(text: str) -> str:
    """The object of a file with that text."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Six published versions; the last two are the ones that `KEEP_MODELS` has."""
    host = Host(tmp_path_factory.mktemp("template"))
    for number in range(1, VERSIONS + 1):
        host.version(number)
    with pytest.MonkeyPatch.context() as patch:
        use_environment(host, patch)
        host.publish()
    host.answered(VERSIONS)
    return host


def use_environment(host: Host, patch: pytest.MonkeyPatch) -> None:
    """Have git and DVC of this process work as the host's."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "DVC_SITE_CACHE_DIR"):
        patch.setenv(name, host.environment[name])


@pytest.fixture
def host(template: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A copy of the template, with remotes of its own."""
    made = Host(tmp_path / "base", template)
    use_environment(made, monkeypatch)
    return made


ALL = range(1, VERSIONS + 1)


def test_what_nobody_needs_goes_and_what_it_shares_stays(host: Host) -> None:
    """Listed first, then removed: in the remote are the objects of kept models and of all parts, and no others."""
    before = host.stored()
    assert before == host.wanted(ALL, ALL)
    listed = host.models()
    assert listed.returncode == 0, listed.stderr
    assert host.stored() == before
    assert [line.split(maxsplit=2)[2] for line in listed.stdout.splitlines()[1:5]] == ["may go"] * 4
    assert "may go: 4 models" in listed.stdout
    removed = host.models("--delete")
    assert removed.returncode == 0, removed.stderr
    assert host.stored() == host.wanted([5, 6], ALL)
    again = host.models("--delete")
    assert (again.returncode, again.stdout.splitlines()[-1].partition(":")[2].strip()) == (0, "0 models, 0.0 MB")
    assert host.command("dvc", "status", "--cloud", "--quiet", "data/model.dvc") == ""


def test_answers_releases_branches_and_tags_keep_their_models(host: Host, tmp_path: Path) -> None:
    """Version 1 gave an answer, 2 is a rollback's, 3 is named by a branch that only the remote has, 4 by nobody."""
    host.answered(1)
    release = replace(INITIAL, in_service=5, served=(2,))
    (tmp_path / "server" / FOLDER).mkdir(parents=True)
    save(tmp_path / "server" / FOLDER, release)
    other = tmp_path / "other"
    host.command("git", "clone", "--quiet", str(host.remote), str(other))
    host.command("git", "push", "--quiet", "origin", "model-3^{}:refs/heads/experiment", cwd=other)
    removed = host.models("--delete", SERVER_DIR=str(tmp_path / "server"))
    assert removed.returncode == 0, removed.stderr
    reasons = {int(line.split()[0]): line.split(maxsplit=2)[2] for line in removed.stdout.splitlines()[1:7]}
    assert reasons[1] == "answers of it are kept"
    assert reasons[2] == "a release may need it"
    assert reasons[3] == "named by branch experiment of origin"
    assert host.stored() == host.wanted([1, 2, 3, 5, 6], ALL)
    host.command("git", "push", "--quiet", "origin", "model-1:refs/tags/approved", ":experiment")
    host.command("git", "tag", "mine", "model-2^{}")
    Path(host.database).unlink()
    host.answered(6)
    assert host.models("--delete").returncode == 0
    assert host.stored() == host.wanted([1, 2, 5, 6], ALL)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"PROVENANCE_URL": ""}, "there is no database"),
        ({"PROVENANCE_URL": "mysql+mysqlconnector://u:p@127.0.0.1:1/m"}, "does not say which models gave kept answers"),
        ({"PROVENANCE_URL": "sqlite:///empty.sqlite"}, "does not say which models gave kept answers"),
        ({"SERVER_DIR": "/nowhere"}, "/nowhere (SERVER_DIR) is not there"),
        ({"GIT_REMOTE": "elsewhere"}, "elsewhere"),
    ],
)
def test_where_a_fact_is_unknown_nothing_goes(host: Host, settings: dict[str, str], says: str) -> None:
    """One line says what is missing."""
    before = host.stored()
    ended = host.models("--delete", **settings)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1), ended.stderr
    assert says in ended.stderr
    assert host.stored() == before


def test_a_database_that_lost_its_answers_removes_nothing(host: Host) -> None:
    """A version is in service, so somebody was answered: the database is a new one."""
    host.database.unlink()
    with closing(Ledger(f"sqlite:///{host.database}")) as ledger:
        ledger.create()
    (host.folder / FOLDER).mkdir(parents=True)
    save(host.folder / FOLDER, replace(INITIAL, in_service=6))
    ended = host.models("--delete")
    assert ended.returncode == 1
    assert "the database has no answer, but version 6 was released" in ended.stderr
    assert host.stored() == host.wanted(ALL, ALL)


def test_a_run_that_holds_the_lock_is_not_disturbed(host: Host) -> None:
    """75, as of every command."""
    with locked(host.data(LOCK), "busy"):
        assert host.models("--delete").returncode == 75


@pytest.mark.crash
def test_a_removal_killed_at_any_moment_is_completed_by_the_next(template: Host, tmp_path: Path) -> None:
    """What must stay is whole after each kill, and in the end nothing of a removed model is left."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance, begun = random.Random(seed), 0
    for turn in range(TURNS):
        host = Host(tmp_path / str(turn), template)
        for _ in range(KILLS):
            killed_in_removal(host, chance.uniform(0.0, 2.5))
            begun += host.data("model_removal.json").exists()
            assert host.wanted([5, 6], ALL) <= host.stored()
        ended = host.models("--delete")
        assert ended.returncode == 0, ended.stderr
        assert host.stored() == host.wanted([5, 6], ALL)
        assert not host.data("model_removal.json").exists()
    assert begun, "no kill came in the midst of a removal"


def killed_in_removal(host: Host, seconds: float) -> None:
    """Kill a removal with all its processes, so many seconds after it has begun with a model."""
    record = host.data("model_removal.json")
    before = record.stat().st_mtime_ns if record.exists() else 0
    process = subprocess.Popen(
        [sys.executable, "-m", "auto_deployment.models", "--delete"],
        cwd=host.folder,
        env=host.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and (not record.exists() or record.stat().st_mtime_ns == before):
        time.sleep(0.01)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_an_object_that_a_newer_model_has_survives_the_completion(host: Host) -> None:
    """The removal of version 1 was killed after its folder; version 7 has a file of its name and content."""
    record = sorted(host.wanted([1]))
    host.data("model_removal.json").write_text(f'{{"version": 1, "objects": {str(record).replace(chr(39), chr(34))}}}')
    folder = next(each for each in record if each.endswith(".dir"))
    (host.dvc_remote / "files" / "md5" / folder[:2] / folder[2:]).unlink()
    assert "the removal of version 1 was interrupted" in host.models().stdout
    host.version(7)
    host.publish()
    assert host.models("--delete").returncode == 0
    assert host.stored() == host.wanted([6, 7], [*ALL, 7])


def test_versions_that_waited_are_pushed_without_those_that_went(host: Host, tmp_path: Path) -> None:
    """And a fresh clone has the last model, all parts, and a clear word about a model that went."""
    assert host.models("--delete").returncode == 0
    for number in (7, 8, 9):
        host.version(number)
    host.publish()
    assert host.stored() == host.wanted([5, 6, 7, 8, 9], range(1, 10))
    assert host.models("--delete").returncode == 0
    assert host.stored() == host.wanted([8, 9, 6], range(1, 10))  # 6 gave an answer
    clone = tmp_path / "clone"
    host.command("git", "clone", "--quiet", str(host.remote), str(clone))
    (clone / ".dvc" / "config.local").write_text((host.folder / ".dvc" / "config.local").read_text())
    host.command("dvc", "pull", "--quiet", cwd=clone)
    host.command("dvc", "fetch", "--quiet", "--all-tags", cwd=clone)
    assert (clone / "data" / "model" / "own.npy").read_text() == "only of 9"
    files = VersionFiles(Places(clone, clone / "data"), "local", clone / ".cache" / "versions")
    assert (files.model(8, None) / "own.npy").read_text() == "only of 8"
    with pytest.raises(GoneError, match=r"model of version 7 was removed from the DVC remote local: .*KEEP_MODELS"):
        files.model(7, None)


def test_a_run_removes_after_its_push(tmp_path: Path) -> None:
    """The pipeline itself, with the models of the last version only; a database that is away fails no run."""
    checkout = Checkout(tmp_path / "host", tmp_path)
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    url = f"sqlite:///{tmp_path / 'provenance.sqlite'}"
    there: list[int] = []
    for settings in ({"PROVENANCE_URL": url}, {"PROVENANCE_URL": "sqlite:////nowhere/x.sqlite"}, {"PROVENANCE_URL": url}):
        path = tmp_path / f"{len(there)}.log"
        path.write_bytes(b"".join(lines[: 5000 * (len(there) + 1)]))
        ended = checkout.run("--input", str(path), **settings, KEEP_MODELS="1")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        there.append(sum(path.name.endswith(".dir") for path in checkout.dvc_remote.rglob("*")))
    assert there == [1, 2, 1]
    assert "2 models that nobody needs are removed: up to version 2" in ended.stdout
