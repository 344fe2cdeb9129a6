"""A master of a Spark cluster on this machine, without a worker until one is added."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.integration.spark.packages import packages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 60


@contextmanager
def cluster(folder: Path, workers: int = 0) -> Iterator[str]:
    """Its URL; its logs and the workers' files are in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"spark://127.0.0.1:{port}"
    here = ["--host", "127.0.0.1", "--webui-port", "0"]
    worker = ["worker.Worker", *here, "--cores", "1", "--memory", "1g", "--work-dir", str(folder / "work"), url]
    with (folder / "cluster.log").open("w") as log:
        started = [_java(["master.Master", *here, "--port", str(port)], log.fileno())]
        try:
            _wait(port)
            started += [_java(worker, log.fileno()) for _ in range(workers)]
            yield url
        finally:
            for each in started:
                each.kill()
                each.wait()


def _java(arguments: list[str], log: int) -> subprocess.Popen[bytes]:
    main, *rest = arguments
    home = packages() / "pyspark"
    command = ["java", "-Xmx256m", "-cp", f"{home}/jars/*", f"org.apache.spark.deploy.{main}", *rest]
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_SCALA_VERSION": "2.13",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYTHONPATH": str(packages()),
    }
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def _wait(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return
