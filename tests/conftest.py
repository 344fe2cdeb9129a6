"""What all tests share: the real data beside the project, which a test skips without, and how long crash tests go on."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak-hours", type=float, default=0.0, help="go on with the crash tests for so long")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def real_ratings() -> Path:
    """10,619 real rating lines."""
    return _shared("movielog-ratings.log")


@pytest.fixture(scope="session")
def real_watches() -> Path:
    """4,367 real watch lines."""
    return _shared("movielog-watches.log")


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name} in shared/data beside the project")
    return path
