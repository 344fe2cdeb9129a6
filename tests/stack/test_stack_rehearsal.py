"""Releases rehearsed as an operator would: a sample of the cases in every run, all of them in a soak.

Of the cases that `test_stack_release` does not try in every run two are drawn, a minute and a half each: with its own seven are
tried, and the whole run stays under half an hour.
"""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from scripts.rehearse.cases import CASES

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
# Tried by test_stack_release in every run; and minutes of traffic at a rate that a shared machine may not have to spare.
SOAK_ONLY = {"good", "errors-20", "killed", "newer", "rollback", "errors-1"}
SAMPLE = 2
SECONDS = 1500


def test_a_sample_of_releases_ends_as_it_should_and_no_request_fails(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Each as its case expects, with one message, and NGINX's log agrees with the client's count."""
    seed = random.randrange(10**6)
    names = [case.name for case in CASES if case.name not in SOAK_ONLY]
    wanted = [] if request.config.getoption("--soak-hours") else sorted(random.Random(seed).sample(names, SAMPLE))
    report = tmp_path / "rehearsal.json"
    done = subprocess.run(
        [str(ROOT / "scripts" / "dev"), "rehearse", *wanted, "--json", str(report)],
        capture_output=True,
        text=True,
        timeout=5 * SECONDS if not wanted else SECONDS,
        check=False,
    )
    print(f"seed {seed}\n{done.stdout}{done.stderr}")
    assert report.exists(), "no case came to its end"
    rows = json.loads(report.read_text())
    assert [row["case"] for row in rows] == (wanted or [case.name for case in CASES])
    assert [row for row in rows if not row["ok"] or row["failed_requests"]] == []
    assert done.returncode == 0
