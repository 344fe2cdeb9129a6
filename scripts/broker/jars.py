"""Apache Kafka's jars: fetched once by Maven, from the repository of this machine's Maven, and kept in `.cache`."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from pathlib import Path

from auto_deployment.common.errors import RunError

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
LIBS = CACHE / "libs"
OLDEST_JAVA = 17
FETCH_SECONDS = 300


class MissingToolError(RunError):
    """A tool that the broker needs is missing on this machine. The text names the tool."""


def kafka_libs() -> Path:
    """The folder with the jars, filled at the first call; a second process waits for the first one.

    Raises MissingToolError where Java or Maven is absent, CalledProcessError where Maven cannot fetch the jars.
    """
    _check_java()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _are_current():
            _fetch()
    return LIBS


def _check_java() -> None:
    wanted = f"a broker needs Java {OLDEST_JAVA} or newer"
    if not shutil.which("java"):
        raise MissingToolError(f"{wanted}: java is not on PATH")
    output = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    version = re.search(r'version "(\d+)', output)
    if not version or int(version[1]) < OLDEST_JAVA:
        raise MissingToolError(f"{wanted}: java -version says {output.splitlines()[0] if output else 'nothing'}")


def _are_current() -> bool:
    kept = LIBS / POM.name
    return kept.exists() and kept.read_bytes() == POM.read_bytes()


def _fetch() -> None:
    if not shutil.which("mvn"):
        raise MissingToolError("Maven fetches the broker's jars, and mvn is not on PATH")
    aside = CACHE / "libs.part"
    for stale in (aside, LIBS):
        shutil.rmtree(stale, ignore_errors=True)
    fetch = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={aside}"]
    subprocess.run(fetch, timeout=FETCH_SECONDS, check=True, stdout=subprocess.DEVNULL)
    shutil.copy(POM, aside)
    aside.rename(LIBS)
