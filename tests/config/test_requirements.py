from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# From what is served to what tests it: each lock holds all of the one before.
FOLDERS = ("app", ".", "tests", "auto_deployment/spark")
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


@pytest.mark.parametrize(("inner", "outer"), [("app", "."), (".", "tests")])
def test_the_locks_agree(inner: str, outer: str) -> None:
    """What is tested is what trains, and what trains is what serves: the same versions with the same hashes."""
    held = locked(outer)
    shared = {pin: hashes for pin, hashes in held.items() if pin[0] in {name for name, _ in locked(inner)}}
    assert shared == locked(inner)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", ["requirements.in", "requirements.txt"])
def test_no_index_or_address_is_told(folder: str, name: str) -> None:
    """Where packages come from is the machine's own affair."""
    text = (ROOT / folder / name).read_text()
    assert re.findall(r"\S*://\S*|--(?:extra-)?index\S*|--find-links|--trusted-host|\S+ @ \S+|\bgit\+", text) == []


@pytest.mark.parametrize("package", ["scikit-surprise", "pandas", "scipy", "numba", "pandera", "duckdb", "pytest"])
def test_the_image_installs_nothing_of_the_training(package: str) -> None:
    """The lock of a serving container is short."""
    assert package not in {name for name, _ in locked("app")}
