from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scripts.ports import reserve
from tests.integration.checkout import ROOT, Checkout
from tests.integration.conftest import wait_until
from tests.integration.monitoring.tools import docker, image_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SAMPLE = str(ROOT / "data" / "sample" / "movielog.log")


def scraped(port: int) -> dict[str, float]:
    """What node-exporter tells, by name and kind of run; empty while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {" ".join([each.name, each.labels.get("kind", "")]).strip(): each.value for each in samples}


def test_what_a_run_leaves_is_read_by_node_exporter(tmp_path: Path) -> None:
    """A collection that is done, then one that fails: real runs under the unit's umask, the real reader, as another user."""
    checkout = Checkout(tmp_path / "host", tmp_path)
    checkout.umask = 0o027
    before = time.time()
    done = checkout.run("--collect-only", "--input", SAMPLE)
    assert done.returncode == 0, done.stderr
    (port,) = reserve()
    options = ["--network", "host", "--user", "65534:65534", "-v", f"{checkout.folder / 'logs' / 'metrics'}:/metrics:ro"]
    command = ["--collector.disable-defaults", "--collector.textfile", "--collector.textfile.directory=/metrics"]
    listen = f"--web.listen-address=127.0.0.1:{port}"
    container = docker("run", "-d", "--rm", *options, image_of("node-exporter"), *command, listen).stdout.strip()
    try:
        wait_until(lambda: scraped(port), 30)
        found = scraped(port)
        assert found["node_textfile_scrape_error"] == 0
        assert found["pipeline_last_run_status collect"] == 0
        assert before < found["pipeline_last_success_time_seconds collect"] < time.time()
        assert found["pipeline_retrain_interval_seconds"] == 2 * 86400
        assert "pipeline_last_run_status retrain" not in found

        failed = checkout.run("--collect-only", "--input", "nothing-there")
        assert failed.returncode == 2, failed.stderr
        then = scraped(port)
        assert then["pipeline_last_run_status collect"] == 2
        assert then["pipeline_last_run_time_seconds collect"] > found["pipeline_last_run_time_seconds collect"]
        assert then["pipeline_last_success_time_seconds collect"] == found["pipeline_last_success_time_seconds collect"]
    finally:
        docker("rm", "-f", container, check=False)
