"""A clock of a process's own: Debian's libfaketime, unpacked once into `.cache`, nothing of it installed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "faketime"
PACKAGE = "libfaketime"
FETCH_SECONDS = 120
# For processes under which the clock moves: the one that nobody sets stays. The library then breaks Python's `time.sleep`.
STEADY = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class NoFaketimeError(Exception):
    """There is no such library for this machine; the text says why."""


def environment_of(clock: Path) -> dict[str, str]:
    """What processes need in their environment to read, from now on, the clock that `set_clock` writes to `clock`.

    The times of files stay as they are. Raises NoFaketimeError.
    """
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "NO_FAKE_STAT": "1",
    }


def environment_at(days: int) -> dict[str, str]:
    """What processes need to live so many days from the true time. Raises NoFaketimeError.

    This clock costs no processor time: the library does not read a file for each question.
    """
    return {"LD_PRELOAD": str(_library()), "FAKETIME": f"{days:+}d", "NO_FAKE_STAT": "1"}


def set_clock(clock: Path, days: float) -> None:
    """So many days from the true time; negative: set back."""
    aside = clock.with_suffix(".new")
    aside.write_text(f"{days:+f}d")
    aside.replace(clock)


def _library() -> Path:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NoFaketimeError(f"a clock of one's own needs Debian's {PACKAGE}: {tool} is not on PATH")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _unpacked() or _fetch()


def _unpacked() -> Path | None:
    return next((CACHE / "root").rglob("libfaketimeMT.so.1"), None)


def _fetch() -> Path:
    _run("apt-get", "-q", "download", PACKAGE)
    _run("dpkg-deb", "-x", *(path.name for path in CACHE.glob(f"{PACKAGE}_*.deb")), "root")
    found = _unpacked()
    if found is None:
        raise NoFaketimeError(f"{PACKAGE} holds no libfaketimeMT.so.1")
    return found


def _run(*words: str) -> None:
    ended = subprocess.run(words, cwd=CACHE, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    if ended.returncode:
        raise NoFaketimeError(f"{' '.join(words)}: {ended.stderr.strip()}")
