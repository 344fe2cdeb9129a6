"""MEMORY_GB: a run stays below it with all of its processes, or is refused before it trains."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.memory import peak_of_tree
from tests.bench.measure import stages
from tests.integration.checkout import ROOT, RUN_SECONDS, Checkout

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SAMPLE = str(ROOT / "data" / "sample" / "movielog.log")
TRAIN = ["parts", "history", "read", "evaluate", "fit", "lists", "reports", "write", "telemetry"]


def test_a_run_stays_below_its_limit(tmp_path: Path) -> None:
    """As measured from outside, and as the run itself says. Git and DVC count; each stage has its line, and steps add up."""
    checkout, limit_gb = Checkout(tmp_path / "host", tmp_path), 0.75
    environment = {**checkout.environment, "MEMORY_GB": str(limit_gb), "RANKER": "auto"}
    process = subprocess.Popen(
        checkout.argv("--input", SAMPLE), cwd=checkout.folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    with peak_of_tree(process.pid) as peak:
        output, _ = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 0
    found = stages(output)
    assert list(found) == ["check", "collect", "begin", *TRAIN, "train", "version", "push", "track", "total"]
    steps = sum(stage.seconds for name, stage in found.items() if name not in {*TRAIN, "total"})
    assert steps == pytest.approx(found["total"].seconds, abs=1.0)
    assert found["total"].peak_gb == pytest.approx(max(stage.peak_gb for stage in found.values()), abs=0.05)
    assert found["total"].peak_gb == pytest.approx(peak.gb, abs=0.05)
    assert peak.gb < limit_gb


def test_a_run_that_cannot_keep_its_limit_is_refused_before_it_trains(tmp_path: Path) -> None:
    """With what to set. Nothing is lost: the next run, with more memory, makes the version of the same rows."""
    checkout = Checkout(tmp_path / "host", tmp_path)
    refused = checkout.run("--input", SAMPLE, MEMORY_GB="0.3")
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert "by surprise needs about 0.4 GB, and MEMORY_GB is 0.3: set TRAINER=sgd or" in refused.stderr
    assert list(stages(refused.stdout)) == ["check", "collect", "begin", "parts", "history", "read", "train", "total"]
    assert not checkout.data("model").exists()
    ended = checkout.run("--input", SAMPLE, MEMORY_GB="1")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert checkout.data("version.txt").read_text() == "1\n"
