"""`TRAINER=spark` on a real Spark of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.spark.master import cluster
from tests.integration.spark.packages import ROOT, packages

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17 or newer: java is not on PATH")
SECONDS = 900


def run(act: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """An act of `work` in a process with Spark."""
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.spark.work", act, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages())]), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def found_by(act: str, *arguments: str) -> Any:
    """What an act found."""
    ended = run(act, *arguments)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@needs_java
def test_it_predicts_ratings_and_training_again_gives_the_same_lists() -> None:
    """No worse than biases on ratings made of biases; the top 20 of 99.9 % of the users at least are the same again.

    Finite for whoever was not in the training. Executors list what threads list.
    """
    report = found_by("train_twice")
    assert report["finite"]
    assert report["rmse"] < 1.02 * report["bias"]
    assert report["same"] >= 0.999
    assert report["as_threads"]


@needs_java
def test_the_model_does_not_follow_the_cores() -> None:
    """The top 20 of 99.9 % of the users at least are the same on one and on three of them."""
    one, three = (found_by("tops", f"local[{cores}]") for cores in (1, 3))
    assert sum(map(list.__eq__, one, three)) >= 0.999 * len(one)


@needs_java
def test_a_version_is_trained_judged_and_served_by_it(tmp_path: Path) -> None:
    """The gate lets it pass on the sample; the artifact is the one that services load; the metadata names what made it."""
    version = found_by("pipeline", str(tmp_path), str(ROOT / "data" / "sample" / "movielog.log"))
    assert (version["trainer"], version["gate"], version["pyspark"]) == ("spark", True, "4.3.0")
    assert version["users"] == version["listed"] == 871
    assert version["factors"] == [871, 16]


@needs_java
@pytest.mark.parametrize(
    ("workers", "seconds", "found"), [(0, 5, "no worker took a first job within 5 s: start one"), (1, 120, "begun")]
)
def test_a_cluster_without_a_free_worker_is_reported(tmp_path: Path, workers: int, seconds: int, found: str) -> None:
    """After a while, and never waited for without an end; with a worker it begins, and Ctrl-C still is the run's to handle."""
    with cluster(tmp_path, workers) as master:
        report = found_by("begin", master, str(seconds))
    assert report.startswith(found if workers else f"SPARK_MASTER={master}: {found}")


@needs_java
def test_a_master_that_is_not_there_is_reported() -> None:
    """In one line, and at once."""
    report = found_by("begin", "spark://127.0.0.1:9", "120")
    assert report.startswith("SPARK_MASTER=spark://127.0.0.1:9: Spark does not run there (")
    assert "\n" not in report


def test_without_pyspark_it_is_refused_at_the_start(tmp_path: Path) -> None:
    """Status 2, one line with what to install, nothing is begun."""
    ended = subprocess.run(
        [sys.executable, "-m", "auto_deployment.auto_deploy", "--no-push"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRAINER": "spark"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "scripts/run --install spark" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
