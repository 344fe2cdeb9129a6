"""What all tests share: the real data beside the project, which a test skips without, and how long crash tests go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import configuration

# Two workers on two cores: threads of their own for tiny matrices would only spin. Before anything loads NumPy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts, and sends it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
configuration.set_hypothesis_home_dir(ROOT / ".cache" / "hypothesis")
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
