"""The process's Spark session. Its start checks the master first, and then that a worker answers."""

from __future__ import annotations

import atexit
import shutil
import signal
import socket
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from threading import Timer, current_thread, main_thread
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError, WrongUseError
from auto_deployment.common.memory import GB, available_gb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark import SparkContext
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("app", "auto_deployment")
CONFIGURATION = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.python.worker.reuse": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.log.level": "ERROR",
}
# The driver takes in all ratings, and later all factors. Our own process has the other half of MEMORY_GB.
DRIVER_SHARE = 0.5
LEAST_DRIVER_MIB = 512
# A cluster without a free worker lets a job wait for ever.
FIRST_JOB_SECONDS = 120.0
CONNECT_SECONDS = 10.0
OWN = "spark://"
AWAY = (
    "SPARK_MASTER={}: Spark does not run there ({}): see that the master answers and that its workers can start executors, or "
    "name another one"
)

_sessions: dict[str, SparkSession] = {}


def session(master: str, memory_gb: float | None = None) -> SparkSession:
    """The process's one session, on a cluster's `master`, made at the first call. It ends with the process.

    At the first call half of `memory_gb` becomes the memory of Spark's driver; None means what is available.
    Raises RunError if the master or a free worker is missing, WrongUseError if the session is on another master.
    """
    if master not in _sessions:
        if _sessions:
            raise WrongUseError(f"this process has its Spark session on {', '.join(_sessions)}: {master} needs another process")
        _sessions[master] = _begun(master, available_gb() if memory_gb is None else memory_gb)
    return _sessions[master]


def _begun(master: str, memory_gb: float) -> SparkSession:
    from py4j.protocol import Py4JError  # noqa: PLC0415 - an optional requirement
    from pyspark.errors import PySparkException  # noqa: PLC0415 - the same
    from pyspark.sql import SparkSession  # noqa: PLC0415 - the same

    _require_master(master)
    builder = SparkSession.builder.master(master).appName("movierec")
    for name, value in {**CONFIGURATION, **driver_memory(memory_gb)}.items():
        builder = builder.config(name, value)
    try:
        with _own_interrupt():
            made: SparkSession = builder.getOrCreate()
        if not master.startswith("local"):
            made.sparkContext.addPyFile(str(_code()))
        _first_job(made.sparkContext, master)
    except (Py4JError, PySparkException) as error:
        raise RunError(AWAY.format(master, _reason(error))) from error
    return made


def driver_memory(memory_gb: float) -> dict[str, str]:
    """Spark's settings of the driver's memory where a run may have `memory_gb` GB. Pure."""
    mib = f"{max(int(DRIVER_SHARE * memory_gb * GB / 2**20), LEAST_DRIVER_MIB)}m"
    return {"spark.driver.memory": mib, "spark.driver.maxResultSize": mib}


def _require_master(master: str) -> None:
    """Ask for a connection first, of Spark's own masters: Spark itself gives up after a minute. Raises RunError."""
    reasons = []
    for place in master.removeprefix(OWN).split(",") if master.startswith(OWN) else ():
        host, _, port = place.rpartition(":")
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            reasons.append(f"{place}: {error}")
        else:
            return
    if reasons:
        raise RunError(AWAY.format(master, "; ".join(reasons)))


def _first_job(context: SparkContext, master: str) -> None:
    """Have a worker do something. Raises RunError where none is free in time, Spark's own error where it cannot."""
    late = Timer(FIRST_JOB_SECONDS, context.cancelAllJobs)
    late.daemon = True
    late.start()
    try:
        context.parallelize([0], 1).count()
    except Exception:
        if late.finished.is_set():
            context.stop()
            raise RunError(
                f"SPARK_MASTER={master}: no worker took a first job within {FIRST_JOB_SECONDS:g} s: start one, or free one's "
                "cores and memory, or set SPARK_MASTER=local[*]"
            ) from None
        raise
    finally:
        late.cancel()


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Keep the process's handler of Ctrl-C: a SparkContext puts its own in its place."""
    if current_thread() is not main_thread():
        yield
        return
    kept = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, kept)


def _reason(error: Exception) -> str:
    """The one line of an error that says what is wrong: after a line on the call, before Java's trace."""
    first, *rest = str(error).strip().splitlines() or [""]
    return rest[0].removeprefix(": ") if rest and rest[0].startswith(": ") else first


def _code() -> Path:
    """The project's packages as a file that executors elsewhere can import; it goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="movierec-spark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "movierec.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for package in PACKAGES:
            for file in sorted((ROOT / package).rglob("*.py")):
                archive.write(file, file.relative_to(ROOT))
    return path
