"""Spark's packages: installed once from their lock, as a user would install them, and kept in `.cache`."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "auto_deployment" / "training" / "spark" / "requirements.txt"
INSTALL = ROOT / "scripts" / "lib" / "install-lock.sh"
CACHE = ROOT / ".cache" / "spark"
INSTALL_SECONDS = 900


def packages() -> Path:
    """The folder with pyspark and pyarrow, filled at the first call; a second process waits for the first one."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        stamp, folder = CACHE / "stamp", CACHE / "packages"
        if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
            shutil.rmtree(folder, ignore_errors=True)
            command = [str(INSTALL), sys.executable, str(LOCK), "--target", str(folder)]
            subprocess.run(command, timeout=INSTALL_SECONDS, check=True)
            stamp.write_bytes(LOCK.read_bytes())
    return folder
