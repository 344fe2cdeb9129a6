"""Retraining runs that keep what became of our recommendations, on a real git remote and a real DVC remote."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from app.events import Recommendation, parse
from app.journal import Row
from app.provenance import Ledger
from app.routes import digest_of, new_id
from tests.integration.checkout import ROOT, Checkout

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SAMPLE = ROOT / "data" / "sample" / "movielog.log"


def halves(folder: Path) -> list[Path]:
    """The sample in two files, the earlier lines first."""
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    cut = len(lines) // 2
    first, second = folder / "first.log", folder / "second.log"
    first.write_bytes(b"".join(lines[:cut]))
    second.write_bytes(b"".join(lines[cut:]))
    return [first, second]


def provenance_of(path: Path, url: str) -> int:
    """Record all answers in a file of the stream as answers of version 1. Returns their number."""
    ledger, rows = Ledger(url), []
    for line in path.read_text().splitlines():
        event = parse(line)
        if isinstance(event, Recommendation) and event.status == 200:
            at = datetime.fromisoformat(event.time[:26]).replace(tzinfo=UTC).timestamp() * 1e6
            body = ",".join(event.films)
            rows.append(Row(new_id(), new_id(), event.user, 1, "stable", int(at), "known", digest_of(body)))
    ledger.create()
    ledger.add_answers("journal", rows, 1)
    ledger.close()
    return len(rows)


def report(checkout: Checkout, number: int) -> dict[str, Any]:
    """The metrics of the telemetry in a version's report."""
    content: dict[str, Any] = json.loads(checkout.data(f"versioning/report_{number}.json").read_bytes())
    return content["telemetry"]  # type: ignore[no-any-return]


def test_a_version_s_report_has_the_watched_share_of_the_version_before(tmp_path: Path) -> None:
    """Compared with the popular list that was kept with version 1. Days are compacted, and git ignores the telemetry."""
    checkout, url = Checkout(tmp_path / "host", tmp_path), f"sqlite:///{tmp_path / 'answers.sqlite'}"
    first, second = halves(tmp_path)
    assert checkout.run("--input", str(first), PROVENANCE_URL=url).returncode == 0
    served = provenance_of(second, url)
    ended = checkout.run("--input", str(first), "--input", str(second), PROVENANCE_URL=url)
    assert ended.returncode == 0, ended.stderr
    metrics = report(checkout, 2)
    (group,) = [each for each in metrics["groups"] if each["version"] == 1]
    assert 0.5 * served < metrics["matched"] == group["answers"] <= served
    assert 0 < group["watched"]["low"] < group["watched"]["value"] < group["watched"]["high"] < 1
    assert group["popular"] is not None
    assert checkout.command("git", "status", "--short") == ""
    days = sorted(checkout.data("telemetry/answers").iterdir())
    assert [len(list(day.iterdir())) for day in days[:-1]] == [1] * (len(days) - 1)


def test_a_run_whose_telemetry_fails_makes_its_version(tmp_path: Path) -> None:
    """A file stands in place of its folder: the log reports the failure, and the version is made."""
    checkout = Checkout(tmp_path / "host", tmp_path)
    (tmp_path / "blocked").write_text("")
    ended = checkout.run("--input", str(SAMPLE), TELEMETRY_DIR=str(tmp_path / "blocked"))
    assert ended.returncode == 0, ended.stderr
    assert report(checkout, 1) is None
    assert "telemetry: a block of" in (checkout.folder / "logs" / "auto_deploy.log").read_text()
