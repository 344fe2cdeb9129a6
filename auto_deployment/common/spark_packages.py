"""Whether Spark can start: its packages are an optional requirement, and it needs Java."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec


def missing() -> str | None:
    """The missing requirement of `TRAINER=spark`, with what to install; None where nothing is missing."""
    if find_spec("pyspark") is None or find_spec("pyarrow") is None:
        return "pyspark is not installed: scripts/run --install spark"
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        return "Spark needs Java 17 or newer: install it (Debian: openjdk-17-jre-headless), or set JAVA_HOME"
    return None
