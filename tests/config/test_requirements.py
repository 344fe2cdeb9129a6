from __future__ import annotations

import re
import subprocess
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[2]
# From what is served to what tests it: each of the first three locks holds all of the one before.
FOLDERS = ("app", ".", "tests", "auto_deployment/training/spark", "kubernetes/verdict")
DRIVER = "mysql-connector-python"
PIN = re.compile(r"([a-z0-9][a-z0-9-]*)==([0-9][0-9a-z.]*)")


def wanted(folder: str) -> dict[str, str]:
    """Names and versions of a folder's requirements.in."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / folder / "requirements.in").read_text().splitlines())
    pins = [PIN.fullmatch(line) or line for line in lines if line and not line.startswith("-r ")]
    assert all(isinstance(pin, re.Match) for pin in pins), f"{folder}: not pinned with ==: {pins}"
    return {pin[1]: pin[2] for pin in pins if isinstance(pin, re.Match)}


def locked(folder: str) -> dict[tuple[str, str], list[str]]:
    """Hashes by name and version, of a folder's requirements.txt. A name has several versions where Pythons differ."""
    found: dict[tuple[str, str], list[str]] = {}
    hashes: list[str] = []
    for line in (ROOT / folder / "requirements.txt").read_text().splitlines():
        if line.startswith("    --hash="):
            hashes.append(line.strip().removesuffix("\\").strip())
        elif not line.lstrip().startswith("#"):
            pin = PIN.fullmatch(line.split()[0])
            assert pin is not None, f"{folder}/requirements.txt: not pinned with ==: {line}"
            hashes = found.setdefault((pin[1], pin[2]), [])
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_requirement_is_in_the_lock_as_it_is_pinned(folder: str) -> None:
    """Each with ==, and the lock has that very version."""
    asked_for = wanted(folder)
    assert asked_for
    assert set(asked_for.items()) <= set(locked(folder))
    assert [pin for pin in locked(folder) if pin[0] in asked_for and asked_for[pin[0]] != pin[1]] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_locked_package_has_its_hashes(folder: str) -> None:
    """SHA-256, at least one for each."""
    for pin, hashes in locked(folder).items():
        assert hashes, pin
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), pin


def test_the_driver_of_mysql_is_its_pure_wheel() -> None:
    """One hash, the same in every lock, and what it installs is pure: a platform's wheel holds 65 MB that nothing uses."""
    folders = ("app", "auto_deployment", ".", "tests", "kubernetes/verdict")
    found = {tuple(hashes) for folder in folders for (name, _), hashes in locked(folder).items() if name == DRIVER}
    assert [len(hashes) for hashes in found] == [1]
    assert "Tag: py3-none-any" in (distribution(DRIVER).read_text("WHEEL") or "").splitlines()


@pytest.mark.parametrize("folder", [*FOLDERS, "auto_deployment"])
def test_there_is_one_driver_of_mysql(folder: str) -> None:
    """In the five locks that reach a database; none is left of the former one."""
    drivers = {name for name, _ in locked(folder) if "mysql" in name}
    assert drivers == (set() if folder == "auto_deployment/training/spark" else {DRIVER})


@pytest.mark.parametrize(
    ("inner", "outer"), [("app", "."), (".", "tests"), ("app", "kubernetes/verdict"), ("kubernetes/verdict", ".")]
)
def test_the_locks_agree(inner: str, outer: str) -> None:
    """What is tested is what trains, and what trains is what serves: the same versions with the same hashes."""
    held = locked(outer)
    shared = {pin: hashes for pin, hashes in held.items() if pin[0] in {name for name, _ in locked(inner)}}
    assert shared == locked(inner)


def missing(folder: str, names: Iterable[str], path: Sequence[str] | None = None) -> list[str]:
    """What installed packages of a lock require that the lock lacks; extras that one of them asks for count."""
    pins = locked(folder)
    found, visited, waiting = [], set(), [(name, "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in visited or (distribution := installed(name, path)) is None:
            continue
        visited.add((name, extra))
        for requirement in map(Requirement, distribution.requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            needed = str(canonicalize_name(requirement.name))
            versions = [version for name_of_pin, version in pins if name_of_pin == needed]
            if not any(requirement.specifier.contains(version, prereleases=True) for version in versions):
                found.append(f"{name}[{extra}] needs {requirement}")
            waiting += [(needed, "")] + [(needed, each) for each in requirement.extras]
    return found


def installed(name: str, path: Sequence[str] | None) -> Distribution | None:
    """A package as it is installed; None where a marker keeps it off this machine."""
    return next(iter(distributions(name=name) if path is None else distributions(name=name, path=list(path))), None)


@pytest.mark.parametrize("folder", ["app", "auto_deployment", ".", "tests", "kubernetes/verdict"])
def test_a_lock_is_complete(folder: str) -> None:
    """Nothing resolves when it is installed, so all that its packages require is in it, of a version that will do."""
    names = [name for name, _ in locked(folder)]
    assert sum(installed(name, None) is not None for name in names) > 0.9 * len(names)
    assert missing(folder, names) == []


def test_a_lock_that_lacks_what_an_extra_needs_is_found() -> None:
    """The check itself: of pytest-cov alone, coverage and its extra are missing where only another lock has them."""
    assert any("coverage" in each for each in missing("app", ["pytest-cov"]))


@pytest.mark.parametrize("folder", [*FOLDERS, "auto_deployment"])
def test_what_is_built_from_source_finds_its_setuptools_in_the_lock(folder: str) -> None:
    """install-lock.sh builds without isolation: a build fetches nothing that is not locked."""
    sources = re.search(r"^readonly SOURCES=(\S+)", (ROOT / "scripts" / "lib" / "install-lock.sh").read_text(), re.MULTILINE)
    assert sources is not None
    names = {name for name, _ in locked(folder)}
    assert not names & set(sources[1].split(",")) or "setuptools" in names


def test_every_place_that_installs_does_so_in_one_way(root: Path) -> None:
    """`pip install` stands in one script alone; nobody else resolves anything."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split("\0")
    files = [name for name in listed if (root / name).is_file() and Path(name).suffix not in {".md", ".txt", ".in", ".go"}]
    call = re.compile(r"pip[\"', ]+install\b|\buv[\"', ]+(?:sync|add)\b")
    calls = {name for name in files if call.search(re.sub(r"#.*", "", (root / name).read_text(errors="replace")))}
    assert {name for name in calls if not name.startswith("tests/")} == {"scripts/lib/install-lock.sh"}
    assert {name for name in calls if name.startswith("tests/integration/")} == {
        "tests/integration/installing/test_install_lock.py"
    }


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", ["requirements.in", "requirements.txt"])
def test_no_index_or_address_is_reported(folder: str, name: str) -> None:
    """Where packages come from is the machine's own affair."""
    text = (ROOT / folder / name).read_text()
    assert re.findall(r"\S*://\S*|--(?:extra-)?index\S*|--find-links|--trusted-host|\S+ @ \S+|\bgit\+", text) == []


@pytest.mark.parametrize("package", ["scikit-surprise", "pandas", "scipy", "numba", "duckdb", "pytest"])
def test_the_image_installs_nothing_of_the_training(package: str) -> None:
    """The lock of a serving container is short."""
    assert package not in {name for name, _ in locked("app")}
