from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from auto_deployment.common.json_file import StateError
from auto_deployment.evaluation.gate import decide
from auto_deployment.evaluation.model_metadata import ModelMetadata, ModelMetrics
from auto_deployment.ingestion.rows import Counts
from auto_deployment.ranking.model_selection import Choice
from auto_deployment.ranking.ranker_factory import Tuning
from auto_deployment.reports import version_report
from auto_deployment.reports.version_report import VersionReport, clock_lines
from tests.unit.auto_deployment.samples import SCALE, evaluation

if TYPE_CHECKING:
    from pathlib import Path

BEFORE, AFTER = "2025-10-19T08:00:00Z", "2026-11-23T08:00:00Z"
GAP = {"source": "movielog-0", "start": 5, "stop": 9, "lines": 4}


def metadata(**more: Any) -> ModelMetadata:
    """The metadata of version 3."""
    model = evaluation()
    metrics = ModelMetrics(
        evaluation=model, gate=decide(model, 1.0, SCALE), choice=Choice(ranker="svd", tuning=Tuning(), scores={}, users=0)
    )
    fields: dict[str, Any] = {
        "version": 3,
        "trained_on": AFTER,
        "data_creation": AFTER,
        "data_md5": "b" * 32,
        "data": {"clean_rating.csv": {"md5": "b" * 32, "rows": 97}},
        "git_commit": "a" * 40,
        "random_state": 0,
        "rmse": 0.7,
        "metrics": metrics,
        "explore_share": 0.0,
        "trainer": "surprise",
        "ranker": "svd",
        "scale": SCALE,
        "cold_lists": ("popular",),
        "users": 50,
        "films": 20,
        "look_alikes": (),
        "ratings": {"pairs": 90, "duplicates": 7, "distribution": {"4": 60, "5": 30}},
        "packages": {},
    }
    return ModelMetadata.model_validate({**fields, **more})


def report(previous: VersionReport | None = None, **more: Any) -> VersionReport:
    """The report of a version that lost lines."""
    return version_report.build(metadata(**more), Counts(9), [GAP], 2, previous, None)


def test_a_report_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    """The file has the names that earlier versions wrote."""
    path = tmp_path / "report_3.json"
    version_report.write(path, report())
    assert version_report.read(path) == report()
    written = json.loads(path.read_bytes())
    assert written["lines"]["in"] == 9
    assert written["gate"]["checks"][0]["said"].startswith("RMSE 0.710 of users known")
    assert written["recipe"] == {"trainer": "surprise", "ranker": "svd", "random_state": 0}
    assert (written["drift"], written["last_trained_on"], written["telemetry"]) == (None, None, None)
    assert version_report.read(tmp_path / "report_4.json") is None


def test_a_report_of_an_older_form_is_read(tmp_path: Path) -> None:
    """It has neither the time of the version before it nor telemetry."""
    path = tmp_path / "report_3.json"
    version_report.write(path, report())
    written = json.loads(path.read_bytes())
    del written["last_trained_on"], written["telemetry"]
    path.write_text(json.dumps(written))
    assert version_report.read(path) == report()


def test_a_damaged_report_is_an_error_that_names_file_and_key(tmp_path: Path) -> None:
    """Nothing is assumed for a key that is missing or of another type."""
    path = tmp_path / "report_3.json"
    version_report.write(path, report())
    damaged = json.loads(path.read_bytes())
    damaged["gate"]["rmse"] = "low"
    path.write_text(json.dumps(damaged))
    with pytest.raises(StateError, match=r"report_3\.json.*gate\.rmse"):
        version_report.read(path)
    earlier = version_report.read_earlier(path)
    assert earlier is not None
    assert earlier.recipe == report().recipe


def test_the_lines_name_what_matters() -> None:
    """Lost and unread lines among it, and the change since the last version."""
    text = "\n".join(version_report.lines(report(report(users=48, trained_on=BEFORE))))
    assert "RMSE 0.710 +- 0.016 (users known at the cut)" in text
    assert "popularity: NDCG@10 0.200, Recall@20 0.300" in text
    assert "LOST: retention removed offsets 5 to 8 of movielog-0 unread" in text
    assert "2 lines of the stream are left unread" in text
    assert "the ratings are as before: PSI 0.000, mean +0.000" in text
    assert "+2 users, +0 films since the last version" in text


@pytest.mark.parametrize("last", [None, BEFORE, AFTER])
def test_a_clock_that_runs_forward_needs_no_warning(last: str | None) -> None:
    """The first version, a later version, and one of the same second."""
    assert clock_lines(report(None if last is None else report(trained_on=last))) == []


def test_a_version_older_than_the_one_before_it_has_a_warning_with_both_times() -> None:
    """A person has to find out which clock was wrong."""
    (line,) = clock_lines(report(report(), trained_on=BEFORE))
    assert line.startswith(f"the clock was SET BACK: this version is of {BEFORE}, the last one of {AFTER}")
