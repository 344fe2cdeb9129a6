"""Releases rehearsed with the operator's command: a random case in every run, all cases in a soak.

A case takes a minute and a half. `test_stack_release` covers other cases in every run, so the whole run takes less than half an
hour.
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
# test_stack_release and the tour cover most of these in every run. `errors-1` needs minutes of traffic at a high rate.
SOAK_ONLY = {"good", "errors-20", "killed", "newer", "rollback", "errors-1", "slower"}
SAMPLE = 1
SECONDS = 1500


def test_rehearsed_releases_end_as_expected_and_no_request_fails(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Each case ends as it expects with one message. NGINX logs as many requests as the client made."""
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
