"""What all tests share: the real data beside the project, which a test skips without, and how long crash tests go on."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

# Two workers on two cores: threads of their own for tiny matrices would only spin. Before anything loads NumPy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# A server that a test makes imports few of the modules that it installs: pip need not compile all. A false value means this.
os.environ.setdefault("PIP_NO_COMPILE", "0")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts, and sends it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
configuration.set_hypothesis_home_dir(ROOT / ".cache" / "hypothesis")
SHARED = ROOT.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak-hours", type=float, default=0.0, help="go on with the crash tests for so long")
    parser.addoption("--soak-days", type=int, default=0, help="simulate so many days of versions instead of a fortnight")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Collect the sockets that kafka-python leaves to the garbage collector, before another test is blamed for them.

    A thread of a client that was closed may still end, and holds them until then.
    """
    try:
        return (yield)
    finally:
        if "kafka" in item.nodeid:
            for thread in threading.enumerate():
                if thread.name.startswith("kafka-io-"):
                    thread.join(10)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()


class _ClosingSocket(socket.socket):
    """A socket that closes itself, without a warning, when it is collected."""

    def __del__(self) -> None:
        self.close()


@pytest.fixture(scope="session", autouse=True)
def _sockets_of_kafka_python() -> Iterator[None]:
    """kafka-python leaves the sockets of failed tries to the garbage collector, which may come many tests later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the library's own import
        from kafka.net import inet  # type: ignore[import-untyped]  # noqa: PLC0415 - has no types, and warns at its import
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inet, "socket", SimpleNamespace(**{**vars(socket), "socket": _ClosingSocket}))
        yield


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
