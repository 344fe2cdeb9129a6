from __future__ import annotations

import json
import logging
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from auto_deployment.common.settings import load_settings
from auto_deployment.ingestion.rows import Counts
from auto_deployment.pipeline.metrics import HELP, Known, after_run, from_text, tell, tell_look, to_text

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.common.settings import Settings

NEVER = Known(0, None, ())
NOW = 1_795_000_000.5
RETRAIN, COLLECT = '{kind="retrain"}', '{kind="collect"}'


def settings(folder: Path, **given: float) -> Settings:
    """Settings with folders of the test's own."""
    return load_settings(data_dir=folder / "data", log_dir=folder / "logs", **given)


def told(folder: Path) -> dict[str, float]:
    """What Prometheus reads, by its own parser: the series as they are written there."""
    text = (folder / "logs" / "metrics" / "pipeline.prom").read_text()
    return {
        each.name + (f'{{kind="{each.labels["kind"]}"}}' if each.labels else ""): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_a_run_that_is_done_is_the_last_run_and_the_last_success() -> None:
    """Of its kind alone."""
    figures = after_run({}, "retrain", 0, NEVER, NOW)
    assert figures[f"pipeline_last_run_time_seconds{RETRAIN}"] == NOW
    assert figures[f"pipeline_last_run_status{RETRAIN}"] == 0
    assert figures[f"pipeline_last_success_time_seconds{RETRAIN}"] == NOW
    assert not any(COLLECT in name for name in figures)


@pytest.mark.parametrize("status", [1, 2, 3, 130, 143])
def test_any_other_end_leaves_the_last_success_as_it_was(status: int) -> None:
    """Refused, failed and stopped runs are no success."""
    before = after_run({}, "collect", 0, NEVER, NOW)
    figures = after_run(before, "collect", status, NEVER, NOW + 60)
    assert figures[f"pipeline_last_run_time_seconds{COLLECT}"] == NOW + 60
    assert figures[f"pipeline_last_run_status{COLLECT}"] == status
    assert figures[f"pipeline_last_success_time_seconds{COLLECT}"] == NOW


def test_a_collection_says_nothing_of_full_runs() -> None:
    """What is known of the other kind stays."""
    before = after_run({}, "retrain", 3, NEVER, NOW)
    figures = after_run(before, "collect", 0, NEVER, NOW + 60)
    assert {name: figures[name] for name in before if RETRAIN in name} == {
        name: value for name, value in before.items() if RETRAIN in name
    }


def test_a_version_is_as_old_as_its_training() -> None:
    """Not as the run that told of it."""
    figures = after_run({}, "collect", 0, Known(7, NOW - 5000, ()), NOW)
    assert (figures["pipeline_version"], figures["pipeline_version_time_seconds"]) == (7, NOW - 5000)


def test_times_of_before_the_clock_was_set_back_count_as_now() -> None:
    """A year ahead, no alert on their age would come for a year."""
    before = after_run({}, "retrain", 0, Known(7, NOW, (5,)), NOW)
    figures = after_run(before, "collect", 1, Known(7, NOW, (5,)), NOW - 365 * 86400)
    times = {name: value for name, value in figures.items() if "_time_seconds" in name}
    assert set(times.values()) == {NOW - 365 * 86400}
    assert f"pipeline_last_success_time_seconds{RETRAIN}" in times
    assert (figures["pipeline_version"], figures["pipeline_kafka_lag"]) == (7, 5)


def test_without_a_version_time_counts_from_the_first_run() -> None:
    """Else runs that are refused from the start would never be missed."""
    first = after_run({}, "retrain", 3, NEVER, NOW)
    second = after_run(first, "retrain", 3, NEVER, NOW + 1000)
    assert first["pipeline_version_time_seconds"] == second["pipeline_version_time_seconds"] == NOW


@pytest.mark.parametrize(("lags", "last", "before"), [((5,), 5, 5), ((5, 9), 9, 5), ((1, 9, 2), 2, 9)])
def test_the_lag_stands_beside_the_one_before(lags: tuple[int, ...], last: int, before: int) -> None:
    """So that a rule can tell whether it grows; a first one does not."""
    figures = after_run({}, "collect", 0, Known(0, None, lags), NOW)
    assert (figures["pipeline_kafka_lag"], figures["pipeline_kafka_lag_before"]) == (last, before)


def test_without_a_topic_there_is_no_lag() -> None:
    """Runs on files leave none."""
    assert "pipeline_kafka_lag" not in after_run({}, "retrain", 0, NEVER, NOW)


def test_rejects_are_those_of_the_last_collection() -> None:
    """By reason; a reason of an earlier one goes. A run that collects nothing leaves them."""
    first = Counts(100, rejected=Counter(film=3, time=2))
    figures = after_run({}, "collect", 3, Known(0, None, (), first, refused=True), NOW)
    assert figures['pipeline_rejected_lines{reason="film"}'] == 3
    assert (figures["pipeline_collected_lines"], figures["pipeline_collection_refused"]) == (100, 1)
    figures = after_run(figures, "collect", 0, Known(0, None, (), Counts(50, rejected=Counter(time=1))), NOW)
    assert {name: value for name, value in figures.items() if "rejected" in name} == {
        'pipeline_rejected_lines{reason="time"}': 1
    }
    assert (figures["pipeline_collected_lines"], figures["pipeline_collection_refused"]) == (50, 0)


def test_what_was_written_is_read_again() -> None:
    """Every series, each kind's, exactly; what somebody else wrote into the file is left out."""
    known = Known(3, NOW / 3, (1, 2), Counts(9, rejected=Counter(rating_above_scale=2)), refused=True)
    figures = after_run(after_run({}, "retrain", 0, known, NOW), "collect", 1, NEVER, NOW * 1.1)
    figures |= {"pipeline_retrain_interval_seconds": 172800.0, "pipeline_collect_interval_seconds": 1e-05}
    assert {name.partition("{")[0] for name in figures} == set(HELP)
    assert from_text(to_text(figures)) == figures
    assert from_text("strange 5\npipeline_version x\n\x00\n" + to_text(figures)) == figures


def test_a_run_leaves_what_the_data_folder_says(tmp_path: Path) -> None:
    """Version, its time, the lags, and the intervals that rules compare with; readable by any user."""
    data = tmp_path / "data"
    (data / "versioning").mkdir(parents=True)
    (data / "version.txt").write_text("4\n")
    (data / "versioning" / "report_4.json").write_text(json.dumps({"trained_on": "2026-11-20T10:00:00Z"}))
    (data / "collected.json").write_text(json.dumps({"format": 1, "lags": [10, 30]}))
    tell(settings(tmp_path, retrain_days=0.5, collect_every_hours=2), "retrain", 0)
    found = told(tmp_path)
    assert found["pipeline_version"] == 4
    assert found["pipeline_version_time_seconds"] == 1_795_168_800
    assert (found["pipeline_kafka_lag"], found["pipeline_kafka_lag_before"]) == (30, 10)
    assert (found["pipeline_retrain_interval_seconds"], found["pipeline_collect_interval_seconds"]) == (43200, 7200)
    path = tmp_path / "logs" / "metrics" / "pipeline.prom"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in path.parent.iterdir()] == ["pipeline.prom"]


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022])
def test_metrics_can_be_read_by_any_user_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Under the `UMask` of the systemd units too: node-exporter mounts the folder, and is another user."""
    before = os.umask(umask)
    try:
        tell(settings(tmp_path), "collect", 0)
        tell_look(tmp_path / "logs", NOW)
    finally:
        os.umask(before)
    folder = tmp_path / "logs" / "metrics"
    assert folder.stat().st_mode & 0o055 == 0o055
    assert folder.parent.stat().st_mode & 0o777 == 0o777 & ~umask, "the log itself is nobody else's to read"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "pipeline.prom": 0o644,
        "release_look.prom": 0o644,
    }


def test_a_second_run_keeps_what_the_first_one_told(tmp_path: Path) -> None:
    """Through the file, which is all that is remembered; a damaged one is replaced."""
    tell(settings(tmp_path), "retrain", 0)
    first = told(tmp_path)
    tell(settings(tmp_path), "collect", 1)
    second = told(tmp_path)
    assert {name: second[name] for name in first if RETRAIN in name} == {
        name: value for name, value in first.items() if RETRAIN in name
    }
    assert second[f"pipeline_last_run_status{COLLECT}"] == 1
    (tmp_path / "logs" / "metrics" / "pipeline.prom").write_bytes(b"\xff\x00 1\n")
    tell(settings(tmp_path), "collect", 3)
    assert told(tmp_path)[f"pipeline_last_run_status{COLLECT}"] == 3


@pytest.mark.parametrize("damage", ["version.txt", "collected.json", "versioning/report_4.json", "../logs"])
def test_what_cannot_be_told_is_logged_and_fails_nothing(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged state or a folder that cannot be made: the run's end stays what it is."""
    (tmp_path / "data" / "versioning").mkdir(parents=True)
    (tmp_path / "data" / "version.txt").write_text("4\n")
    (tmp_path / "data" / damage).write_text('{"trained_on": 5, "lags": 7' if damage != "version.txt" else "four")
    with caplog.at_level(logging.WARNING):
        tell(settings(tmp_path), "retrain", 0)
    assert "Prometheus does not hear of this run" in caplog.text
    assert not (tmp_path / "logs" / "metrics" / "pipeline.prom").exists()


def test_a_look_at_a_canary_is_told_beside_the_pipeline(tmp_path: Path) -> None:
    """The last one's time, readable by any user; neither file touches the other."""
    tell(settings(tmp_path), "collect", 0)
    before = told(tmp_path)
    for now in (NOW, NOW + 60):
        tell_look(tmp_path / "logs", now)
    path = tmp_path / "logs" / "metrics" / "release_look.prom"
    (family,) = text_string_to_metric_families(path.read_text())
    assert [(each.name, each.value) for each in family.samples] == [("release_last_look_time_seconds", NOW + 60)]
    assert path.stat().st_mode & 0o777 == 0o644
    assert told(tmp_path) == before


def test_a_look_that_cannot_be_told_is_logged_and_fails_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A release goes on without it."""
    (tmp_path / "logs").write_text("a file")
    with caplog.at_level(logging.WARNING):
        tell_look(tmp_path / "logs", NOW)
    assert "Prometheus does not hear of this look" in caplog.text
