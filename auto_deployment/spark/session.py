"""One Spark session a process and master; what it needs is asked for before anything is begun."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "auto_deployment")
# Messages carry columns of users' factors: a block of them, not a row, is what a task sends.
CONFIGURATION = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.memory": "4g",
    "spark.driver.maxResultSize": "4g",
    "spark.python.worker.reuse": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.log.level": "ERROR",
}


def missing() -> str | None:
    """What has to be installed before `TRAINER=spark` can start; None where all is there."""
    if find_spec("pyspark") is None or find_spec("pyarrow") is None:
        return "pyspark is not installed: pip install --require-hashes -r auto_deployment/spark/requirements.txt"
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        return "Spark needs Java 17 or newer: install it (Debian: openjdk-17-jre-headless), or set JAVA_HOME"
    return None


@cache
def session(master: str) -> SparkSession:
    """The session on a cluster's `master`, made when it is first asked for; it ends with the process."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 - an optional requirement

    builder = SparkSession.builder.master(master).appName("movierec")
    for name, value in CONFIGURATION.items():
        builder = builder.config(name, value)
    made = builder.getOrCreate()
    if not master.startswith("local"):
        made.sparkContext.addPyFile(str(_code()))
    return made


def _code() -> Path:
    """The project's packages as a file that executors elsewhere can import."""
    path = Path(tempfile.mkdtemp(prefix="movierec-spark-")) / "movierec.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for package in PACKAGES:
            for file in sorted((ROOT / package).rglob("*.py")):
                archive.write(file, file.relative_to(ROOT))
    return path
