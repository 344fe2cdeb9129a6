"""scripts/run: a program keeps its code and packages to its end, and an upgrade that fails takes nothing away."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from scripts.rehearse.release_stack import share_environments
from tests.integration.installing.index import Index, lock_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 180
BEGINS_WITHIN = 10.0
KILLS, SOAK_KILLS = 6, 50
# It imports code and package only when it is allowed to go on: by then an upgrade has changed both in the checkout.
WORK = """
import pathlib, sys, time
print("began", flush=True)
until = time.monotonic() + 120
while len(sys.argv) > 1 and not pathlib.Path(sys.argv[1]).exists() and time.monotonic() < until:
    time.sleep(0.02)
from auto_deployment.late import CODE
from tool import VERSION
print(CODE, VERSION, flush=True)
"""

# Imports each module of the host side; prints how many.
IMPORTS = """
import importlib, importlib.util, pathlib
for absent in ("pytest", "mypy", "ruff", "hypothesis"):
    assert importlib.util.find_spec(absent) is None, absent
folders = ("app", "auto_deployment", "scripts/check", "scripts/lib/images")
files = [path for folder in folders for path in pathlib.Path(folder).rglob("*.py") if "stand_ins" not in path.parts]
names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]
names = [name for name in names if name not in {"app.wsgi", "app.gunicorn.conf"} and "spark" not in name]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


class Server:
    """A checkout with a small host side of its own, and the index that its packages come from."""

    def __init__(self, folder: Path, index: Index, url: str) -> None:
        self.folder = folder
        self.index = index
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MOVIEREC_"))}
        self.environment = {
            **environment,
            "PIP_INDEX_URL": url,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_NO_COMPILE": "0",  # pip takes a false value for "do not compile"
            "PIP_RETRIES": "0",
            "PYTHON": sys.executable,
        }

    def make(self) -> Self:
        """Write the checkout's files, with version 1.0 of code and package."""
        folder = self.folder
        for name in ("scripts/run", "scripts/lib/install-lock.sh", "scripts/lib/python.sh"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        for name in ("app", "auto_deployment"):
            (folder / name).mkdir()
            (folder / name / "__init__.py").touch()
        (folder / "auto_deployment" / "work.py").write_text(WORK)
        (folder / "docker-compose.yml").touch()
        (folder / ".git").mkdir()
        self.upgrade("1.0")
        return self

    def upgrade(self, version: str) -> None:
        """Have the checkout hold other code and another lock, as `git pull` would."""
        (self.folder / "auto_deployment" / "late.py").write_text(f"CODE = 'code {version}'\n")
        wheel = self.index.folder / "simple" / "tool" / f"tool-{version}-py3-none-any.whl"
        (self.folder / "requirements.txt").write_text(lock_of({f"tool=={version}": wheel}))

    def start(self, *words: str, **settings: str) -> subprocess.Popen[str]:
        """Start scripts/run, in a process group of its own."""
        return subprocess.Popen(
            [str(self.folder / "scripts" / "run"), *words],
            env={**self.environment, **settings},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/run to its end."""
        process = self.start(*words, **settings)
        out, errors = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def kept(self) -> tuple[int, int]:
        """How many copies of the code there are, and how many environments."""
        found = [list((self.folder / ".runtime" / name).glob("[!.]*")) for name in ("code", "environments")]
        return len(found[0]), len(found[1])


def index_in(folder: Path) -> Index:
    """Versions 1.0 to 3.0 of one package."""
    made = Index(folder)
    for version in ("1.0", "2.0", "3.0"):
        made.add_wheel("tool", version)
    return made


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index, and with a checkout whose first packages are installed: each test gets a copy."""
    folder = tmp_path_factory.mktemp("installed")
    index = index_in(folder / "index")
    with index.served() as url:
        assert Server(folder / "server", index, url).make().run("--install").returncode == 0
    return folder


@pytest.fixture
def server(tmp_path: Path, installed: Path) -> Iterator[Server]:
    """A checkout whose first packages are installed."""
    for name in ("index", "server"):
        shutil.copytree(installed / name, tmp_path / name, symlinks=True)
    index = Index(tmp_path / "index")
    with index.served() as url:
        yield Server(tmp_path / "server", index, url)


def ended(process: subprocess.Popen[str]) -> str:
    """What a program printed last, once it has ended well."""
    out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    return out.splitlines()[-1]


def begun(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """The program, as soon as it runs."""
    assert process.stdout is not None
    assert process.stdout.readline() == "began\n"
    return process


def test_what_is_installed_is_used_without_asking_the_index(server: Server) -> None:
    """The second start is quiet, and fetches nothing."""
    fetched = len(server.index.asked)
    done = server.run("auto_deployment.work")
    assert (done.stdout, done.stderr) == ("began\ncode 1.0 1.0\n", "")
    assert len(server.index.asked) == fetched


def test_an_upgrade_changes_nothing_for_a_program_that_runs(server: Server, tmp_path: Path) -> None:
    """What it imports after the upgrade is what it began with; the next one has the new; then the old goes."""
    running = begun(server.start("auto_deployment.work", str(tmp_path / "go")))
    server.upgrade("2.0")
    assert server.run("auto_deployment.work").stdout.endswith("code 2.0 2.0\n")
    assert server.kept() == (2, 2)
    (tmp_path / "go").touch()
    assert ended(running) == "code 1.0 1.0"
    assert server.run("auto_deployment.work").returncode == 0
    assert server.kept() == (1, 1)


def test_without_the_index_what_was_installed_last_begins_within_ten_seconds(server: Server, tmp_path: Path) -> None:
    """Right after an upgrade whose packages cannot be had; a program that runs is not touched either."""
    running = begun(server.start("auto_deployment.work", str(tmp_path / "go")))
    server.upgrade("2.0")
    away = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    done = server.run("auto_deployment.work", **away)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be installed: see pip's message above; the former packages stay" in done.stderr
    started = time.monotonic()
    done = server.run("--installed", "auto_deployment.work", **away)
    assert time.monotonic() - started < BEGINS_WITHIN
    assert done.stdout == "began\ncode 1.0 1.0\n"
    assert "scripts/run --install installs those of this checkout" in done.stderr
    (tmp_path / "go").touch()
    assert ended(running) == "code 1.0 1.0"
    assert server.run("--installed", "auto_deployment.work").stdout.endswith("code 1.0 1.0\n")
    assert server.run("auto_deployment.work").stdout.endswith("code 2.0 2.0\n")
    assert server.run("--installed", "auto_deployment.work").stdout.endswith("code 2.0 2.0\n")


def test_code_of_software_1_is_run_by_its_own_names(server: Server) -> None:
    """After an upgrade whose packages are not installed yet, the new scripts name packages that the last code does not have."""
    package = server.folder / "auto_deployment" / "rollout"
    package.mkdir()
    (package / "__main__.py").write_text("import sys\nprint('rollout', *sys.argv[1:])\n")
    assert server.run("auto_deployment.rollout").returncode == 0
    shutil.rmtree(package)
    server.upgrade("2.0")
    away = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    assert server.run("--installed", "auto_deployment.release", "status", "--json", **away).stdout == "rollout status --json\n"
    assert server.run("--installed", "auto_deployment.work", **away).stdout == "began\ncode 1.0 1.0\n"


def test_new_code_with_the_same_packages_is_used_without_a_network(server: Server) -> None:
    """Only packages that are missing hold it back."""
    (server.folder / "auto_deployment" / "late.py").write_text("CODE = 'mended'\n")
    done = server.run("--installed", "auto_deployment.work", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert (done.stdout, done.stderr) == ("began\nmended 1.0\n", "")


@pytest.mark.crash
def test_an_installation_that_is_killed_takes_nothing_away(
    server: Server, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """KILL at random moments of an upgrade: the last complete pair still works, and the upgrade can be done again."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    running = begun(server.start("auto_deployment.work", str(tmp_path / "go")))
    server.upgrade("2.0")
    started = time.monotonic()
    assert server.run("--install").returncode == 0
    whole = time.monotonic() - started
    server.upgrade("3.0")
    for _ in range(SOAK_KILLS if request.config.getoption("--soak-hours") else KILLS):
        process = server.start("--install")
        time.sleep(chance.uniform(0, whole))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert server.run("--installed", "auto_deployment.work").stdout.splitlines()[-1] in {"code 2.0 2.0", "code 3.0 3.0"}
    assert server.run("auto_deployment.work").stdout.endswith("code 3.0 3.0\n")
    (tmp_path / "go").touch()
    assert ended(running) == "code 1.0 1.0"
    assert server.run("auto_deployment.work").returncode == 0
    assert server.kept()[1] == 1


def test_two_first_starts_at_once_install_once(tmp_path: Path) -> None:
    """Both work; the second waits for the first."""
    index = index_in(tmp_path / "index")
    with index.served() as url:
        made = Server(tmp_path / "fresh", index, url).make()
        both = [made.start("auto_deployment.work") for _ in range(2)]
        assert [ended(each) for each in both] == ["code 1.0 1.0"] * 2
    assert index.asked.count("tool-1.0-py3-none-any.whl") == 1


def test_half_a_checkout_is_not_run(server: Server) -> None:
    """A git that was killed has left its lock: what was complete is run, or the message says what to do."""
    server.upgrade("2.0")
    (server.folder / ".git" / "index.lock").touch()
    assert server.run("--installed", "auto_deployment.work").stdout.endswith("code 1.0 1.0\n")
    done = server.run("auto_deployment.work", MOVIEREC_NOT_RUN_STATUS="69")
    assert (done.returncode, done.stdout) == (69, "")
    assert ".git/index.lock" in done.stderr


@pytest.mark.parametrize("half", [False, True])
def test_the_lock_of_a_killed_git_stops_no_later_run(server: Server, *, half: bool) -> None:
    """The last code removes it. Code that differs from the commit may be half of a checkout, and is not run."""
    shutil.rmtree(server.folder / ".git")
    module = server.folder / "auto_deployment" / "versioning.py"
    module.write_text("from pathlib import Path\nPath('.git/index.lock').unlink()\n")
    (server.folder / ".gitignore").write_text("/.runtime/\n__pycache__/\n")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "-m", "The code")):
        subprocess.run(["git", *identity, *words], cwd=server.folder, check=True)
    assert server.run("auto_deployment.work").returncode == 0
    (server.folder / ".git" / "index.lock").touch()
    if half:
        server.upgrade("2.0")
    done = server.run("auto_deployment.work")
    assert done.returncode == int(half), done.stderr
    assert not (server.folder / ".git" / "index.lock").exists()
    assert half == ("bring what git status lists to rights" in done.stderr)


def stand_in(folder: Path, name: str, text: str) -> dict[str, str]:
    """The environment in which a command of this name is a script of `text`."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("words", [(), ("--installed",)])
def test_a_pair_that_cannot_be_held_is_an_error(server: Server, tmp_path: Path, words: tuple[str, ...]) -> None:
    """As where another user's files cannot be read: after a few tries it ends and says what to do."""
    refuses = stand_in(tmp_path / "bin", "flock", "exit 1")
    done = server.run(*words, "auto_deployment.work", **refuses)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"run this as the user whom {server.folder} belongs to" in done.stderr


def test_old_files_that_cannot_be_removed_hold_up_no_program(server: Server, tmp_path: Path) -> None:
    """As those that root's Python left in a copy of the code: a line names the folder, and the new code is run."""
    server.upgrade("2.0")
    refuses = stand_in(tmp_path / "bin", "rm", 'case "$*" in */.old.*) exit 1 ;; *) exec /bin/rm "$@" ;; esac')
    done = server.run("auto_deployment.work", **refuses)
    assert done.stdout.endswith("code 2.0 2.0\n")
    assert "keeps files of another user" in done.stderr


def test_every_user_who_can_read_an_environment_can_hold_it(server: Server) -> None:
    """The file that is locked can be read as the environment can: status and provenance are for all users of the machine."""
    ready = [*(server.folder / ".runtime").glob("*/*/ready")]
    assert len(ready) == 2
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in ready)


def test_spark_is_installed_on_request_and_stays(server: Server) -> None:
    """Its lock joins the environment, now and after the next upgrade."""
    spark = server.folder / "auto_deployment" / "training" / "spark"
    spark.mkdir(parents=True)
    (spark / "requirements.txt").write_text(lock_of({"spark-like==1.0": server.index.add_wheel("spark-like", "1.0")}))
    assert server.run("--install", "spark").returncode == 0
    assert server.run("spark_like.__init__").returncode == 0
    server.upgrade("2.0")
    assert server.run("spark_like.__init__").returncode == 0


@pytest.mark.parametrize("words", [(), ("--install", "pandas"), ("no module",), ("-c",), ("--installed",)])
def test_wrong_use_is_one_line(words: tuple[str, ...]) -> None:
    """Status 2, and nothing is run."""
    done = subprocess.run([str(ROOT / "scripts" / "run"), *words], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_the_whole_host_side_can_be_imported_with_the_packages_of_the_runtime(tmp_path: Path) -> None:
    """A server has nothing else: no pytest, no linter. Spark is an extra, so its modules are left out."""
    share_environments(tmp_path)
    environment = (ROOT / ".runtime" / "current").read_text().split()[1]
    done = subprocess.run(
        [str(ROOT / ".runtime" / environment / "bin" / "python"), "-c", IMPORTS],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 150


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which can give a folder away")
def test_root_runs_what_is_installed_and_installs_nothing_for_another_user(server: Server) -> None:
    """Files of root would be in the way of the owner's next upgrade: root is sent to the owner, and writes nothing."""
    before = server.kept()
    server.upgrade("2.0")
    os.chown(server.folder, 65534, 65534)
    done = server.run("--installed", "auto_deployment.work")
    assert done.stdout.endswith("code 1.0 1.0\n")
    for words in (("auto_deployment.work",), ("--install",)):
        done = server.run(*words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert f"run this as the user whom {server.folder} belongs to" in done.stderr
    assert server.kept() == before
