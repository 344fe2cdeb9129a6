"""scripts/lib/install-lock.sh installs what a lock names and nothing else, whatever the index offers and however old pip is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.integration.installing.index import Index, lock_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
INSTALL = ROOT / "scripts" / "lib" / "install-lock.sh"
LINES = Path(__file__).with_name("pips.txt").read_text().splitlines()[1:]
PIPS = {pin: hashes for pin, _, hashes in (line.partition(" ") for line in LINES)}
# Debian 12's pip does not run on a Python that is newer than Debian 12's.
RUNNABLE = [pin for pin in PIPS if pin != "pip==23.0.1" or sys.version_info < (3, 12)]
SECONDS = 300
LOCKED = {"coverage-like": "1.0", "toml-like": "1.0", "antlr4-python3-runtime": "4.9.3", "typing-like": "1.0"}


class Place(NamedTuple):
    """An environment with one pip, a lock, and the index that pip is given."""

    python: Path
    lock: Path
    packages: Index
    environment: dict[str, str]

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """A command that knows this index alone."""
        return subprocess.run(
            [str(word) for word in command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def installed(self) -> dict[str, str]:
        """Name and version of each package, but pip."""
        listed = json.loads(self.run(self.python, "-m", "pip", "list", "--format", "json").stdout)
        return {each["name"].replace("_", "-"): each["version"] for each in listed if each["name"] != "pip"}


def fetched(folder: Path, *lines: str) -> Path:
    """The one file that a locked line names, from the machine's own index."""
    folder.mkdir(parents=True)
    (folder / "lock.txt").write_text("\n".join(lines) + "\n")
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(folder / "lock.txt"), "-d", str(folder)]
    subprocess.run(command, timeout=SECONDS, check=True)
    return next(folder.glob("*.whl"))


def setuptools_lines() -> list[str]:
    """The entry of setuptools in requirements.txt."""
    found = re.search(r"^setuptools==.*?(?=^\S|\Z)", (ROOT / "requirements.txt").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return [line for line in found[0].splitlines() if not line.lstrip().startswith("#")]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of each pip, and of the setuptools that is locked."""
    folder = tmp_path_factory.mktemp("wheels")
    pips = {pin: fetched(folder / pin, f"{pin} {PIPS[pin]}") for pin in RUNNABLE}
    return {**pips, "setuptools": fetched(folder / "setuptools", *setuptools_lines())}


@pytest.fixture(params=RUNNABLE)
def place(request: pytest.FixtureRequest, tmp_path: Path, wheels: dict[str, Path]) -> Iterator[Place]:
    """Everything locked, a newer one of everything, a setuptools that cannot build, in an environment with one pip."""
    setuptools, pip = wheels["setuptools"], wheels[request.param]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], timeout=SECONDS, check=True)
    python = tmp_path / "venv" / "bin" / "python"
    command = [python, pip / "pip", "install", "--quiet", "--no-index", "--no-deps", pip]
    subprocess.run([str(word) for word in command], env=environment, timeout=SECONDS, check=True)
    index = Index(tmp_path / "index")
    pins = {f"setuptools=={setuptools.name.split('-')[1]}": index.add_file("setuptools", setuptools)}
    needs = ["toml-like>=1; extra == 'toml'", "typing-like"]
    pins["coverage-like==1.0"] = index.add_wheel("coverage-like", "1.0", requires=needs, extras=["toml"])
    pins["toml-like==1.0"] = index.add_wheel("toml-like", "1.0")
    pins["typing-like==1.0"] = index.add_wheel("typing-like", "1.0", requires=["coverage-like[toml]>=1"])
    pins["antlr4-python3-runtime==4.9.3"] = index.add_sdist("antlr4-python3-runtime", "4.9.3")
    for name in ("coverage-like", "toml-like", "typing-like"):
        index.add_wheel(name, "2.0", extras=["toml"])
    index.add_sdist("antlr4-python3-runtime", "4.10.0")
    broken = {"setuptools/__init__.py": "raise RuntimeError('the newest setuptools builds nothing')\n"}
    index.add_wheel("setuptools", "9999.0", files=broken)
    (tmp_path / "lock.txt").write_text(lock_of(pins))
    with index.served() as url:
        yield Place(
            python,
            tmp_path / "lock.txt",
            index,
            {**environment, "PIP_INDEX_URL": url, "PIP_NO_CACHE_DIR": "1", "PIP_NO_COMPILE": "0"},
        )


def test_exactly_what_is_locked_gets_installed(place: Place) -> None:
    """Extras, a source distribution and its setuptools included; nothing newer is even fetched."""
    done = place.run(INSTALL, place.python, place.lock)
    assert done.returncode == 0, done.stderr
    installed = place.installed()
    setuptools = installed.pop("setuptools")
    assert installed == LOCKED
    assert setuptools != "9999.0"
    assert [name for name in place.packages.asked if re.search(r"-(2\.0|9999\.0)-|4\.10\.0", name)] == []


def test_a_resolving_installation_of_the_same_lock_goes_wrong(place: Place) -> None:
    """As it did before: an old pip asks for what an extra names, and every pip builds with the newest setuptools."""
    done = place.run(place.python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", place.lock)
    assert done.returncode != 0
    assert place.installed() == {}


def test_what_differs_from_the_lock_is_refused(place: Place) -> None:
    """Another file under a locked name: pip says so, nothing of the lock is installed, and the status is 1."""
    place.packages.add_wheel("toml-like", "1.0", files={"toml_like/evil.py": ""})
    done = place.run(INSTALL, place.python, place.lock)
    assert done.returncode == 1
    assert "HASHES" in done.stderr
    assert "toml-like" not in place.installed()


def test_no_lock_is_wrong_use(tmp_path: Path) -> None:
    """One line, status 2."""
    done = subprocess.run(
        [str(INSTALL), sys.executable, str(tmp_path / "none.txt")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
