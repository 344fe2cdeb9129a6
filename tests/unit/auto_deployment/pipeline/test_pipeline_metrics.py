from __future__ import annotations

import json
import logging
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from auto_deployment.common.settings import load_settings
from auto_deployment.ingestion.collector import CollectionState
from auto_deployment.ingestion.rows import Counts
from auto_deployment.pipeline.metrics import (
    HELP,
    DataState,
    after_run,
    from_text,
    to_text,
    write_check_time,
    write_next_runs,
    write_run_metrics,
)

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.common.settings import Settings

NEVER = DataState(0, None, ())
NOW = 1_795_000_000.5
RETRAIN, COLLECT = '{kind="retrain"}', '{kind="collect"}'


def settings(folder: Path, **given: float) -> Settings:
    """Settings with folders of the test's own."""
    return load_settings(data_dir=folder / "data", log_dir=folder / "logs", **given)


def exposition(folder: Path) -> dict[str, float]:
    """What Prometheus reads, by its own parser: the series as they are written there."""
    text = (folder / "logs" / "metrics" / "pipeline.prom").read_text()
    return {
        each.name + (f'{{kind="{each.labels["kind"]}"}}' if each.labels else ""): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_a_run_that_is_done_is_the_last_run_and_the_last_success() -> None:
    """Of its kind alone."""
    values = after_run({}, "retrain", 0, NEVER, NOW)
    assert values[f"pipeline_last_run_time_seconds{RETRAIN}"] == NOW
    assert values[f"pipeline_last_run_status{RETRAIN}"] == 0
    assert values[f"pipeline_last_success_time_seconds{RETRAIN}"] == NOW
    assert not any(COLLECT in name for name in values)


@pytest.mark.parametrize("status", [1, 2, 3, 130, 143])
def test_any_other_end_leaves_the_last_success_as_it_was(status: int) -> None:
    """Refused, failed and stopped runs are no success."""
    before = after_run({}, "collect", 0, NEVER, NOW)
    values = after_run(before, "collect", status, NEVER, NOW + 60)
    assert values[f"pipeline_last_run_time_seconds{COLLECT}"] == NOW + 60
    assert values[f"pipeline_last_run_status{COLLECT}"] == status
    assert values[f"pipeline_last_success_time_seconds{COLLECT}"] == NOW


def test_a_collection_says_nothing_of_full_runs() -> None:
    """What is known of the other kind stays."""
    before = after_run({}, "retrain", 3, NEVER, NOW)
    values = after_run(before, "collect", 0, NEVER, NOW + 60)
    assert {name: values[name] for name in before if RETRAIN in name} == {
        name: value for name, value in before.items() if RETRAIN in name
    }


def test_a_version_is_as_old_as_its_training() -> None:
    """Not as the run that told of it."""
    values = after_run({}, "collect", 0, DataState(7, NOW - 5000, ()), NOW)
    assert (values["pipeline_version"], values["pipeline_version_time_seconds"]) == (7, NOW - 5000)


def test_times_of_before_the_clock_was_set_back_count_as_now() -> None:
    """A year ahead, no alert on their age would come for a year."""
    before = after_run({}, "retrain", 0, DataState(7, NOW, (5,)), NOW)
    values = after_run(before, "collect", 1, DataState(7, NOW, (5,)), NOW - 365 * 86400)
    times = {name: value for name, value in values.items() if "_time_seconds" in name}
    assert set(times.values()) == {NOW - 365 * 86400}
    assert f"pipeline_last_success_time_seconds{RETRAIN}" in times
    assert (values["pipeline_version"], values["pipeline_kafka_lag"]) == (7, 5)


def test_without_a_version_time_counts_from_the_first_run() -> None:
    """Else runs that are refused from the start would never be missed."""
    first = after_run({}, "retrain", 3, NEVER, NOW)
    second = after_run(first, "retrain", 3, NEVER, NOW + 1000)
    assert first["pipeline_version_time_seconds"] == second["pipeline_version_time_seconds"] == NOW


@pytest.mark.parametrize(("lags", "last", "before"), [((5,), 5, 5), ((5, 9), 9, 5), ((1, 9, 2), 2, 9)])
def test_the_lag_is_printed_with_the_one_before(lags: tuple[int, ...], last: int, before: int) -> None:
    """So that a rule can tell whether it grows; a first one does not."""
    values = after_run({}, "collect", 0, DataState(0, None, lags), NOW)
    assert (values["pipeline_kafka_lag"], values["pipeline_kafka_lag_before"]) == (last, before)


def test_without_a_topic_there_is_no_lag() -> None:
    """Runs on files leave none."""
    assert "pipeline_kafka_lag" not in after_run({}, "retrain", 0, NEVER, NOW)


def test_rejects_are_those_of_the_last_collection() -> None:
    """By reason; a reason of an earlier one goes. A run that collects nothing leaves them."""
    first = Counts(100, rejected=Counter(film=3, time=2))
    values = after_run({}, "collect", 3, DataState(0, None, (), first, refused=True), NOW)
    assert values['pipeline_rejected_lines{reason="film"}'] == 3
    assert (values["pipeline_collected_lines"], values["pipeline_collection_refused"]) == (100, 1)
    values = after_run(values, "collect", 0, DataState(0, None, (), Counts(50, rejected=Counter(time=1))), NOW)
    assert {name: value for name, value in values.items() if "rejected" in name} == {
        'pipeline_rejected_lines{reason="time"}': 1
    }
    assert (values["pipeline_collected_lines"], values["pipeline_collection_refused"]) == (50, 0)


def test_what_was_written_is_read_again() -> None:
    """Every series, each kind's, exactly; what somebody else wrote into the file is left out."""
    known = DataState(3, NOW / 3, (1, 2), Counts(9, rejected=Counter(rating_above_scale=2)), refused=True)
    values = after_run(after_run({}, "retrain", 0, known, NOW), "collect", 1, NEVER, NOW * 1.1)
    values |= {"pipeline_retrain_interval_seconds": 172800.0, "pipeline_collect_interval_seconds": 1e-05}
    assert {name.partition("{")[0] for name in values} == set(HELP)
    assert from_text(to_text(values)) == values
    assert from_text("strange 5\npipeline_version x\n\x00\n" + to_text(values)) == values


def test_a_run_leaves_what_the_data_folder_says(tmp_path: Path) -> None:
    """Version, its time, the lags, and the intervals that rules compare with; readable by any user."""
    data = tmp_path / "data"
    (data / "versioning").mkdir(parents=True)
    (data / "version.txt").write_text("4\n")
    (data / "versioning" / "report_4.json").write_text(json.dumps({"trained_on": "2026-11-20T10:00:00Z"}))
    CollectionState(format=1, lags=[10, 30]).save(data / "collected.json")
    write_run_metrics(settings(tmp_path, retrain_days=0.5, collect_every_hours=2), "retrain", 0)
    found = exposition(tmp_path)
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
        write_run_metrics(settings(tmp_path), "collect", 0)
        write_check_time(tmp_path / "logs", NOW)
        write_next_runs(tmp_path / "logs", {"retrain": NOW})
    finally:
        os.umask(before)
    folder = tmp_path / "logs" / "metrics"
    assert folder.stat().st_mode & 0o055 == 0o055
    assert folder.parent.stat().st_mode & 0o777 == 0o777 & ~umask, "the log itself is nobody else's to read"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "pipeline.prom": 0o644,
        "release_look.prom": 0o644,
        "schedule.prom": 0o644,
    }


def test_the_times_of_the_next_runs_are_read_by_prometheus(tmp_path: Path) -> None:
    """One for each kind of run. A folder that cannot be written fails no scheduler."""
    write_next_runs(tmp_path, {"retrain": NOW, "collect": NOW + 60})
    (family,) = text_string_to_metric_families((tmp_path / "metrics" / "schedule.prom").read_text())
    assert family.name == "pipeline_next_run_time_seconds"
    assert {each.labels["kind"]: each.value for each in family.samples} == {"retrain": NOW, "collect": NOW + 60}
    (tmp_path / "file").write_text("")
    write_next_runs(tmp_path / "file", {"retrain": NOW})


def test_a_second_run_keeps_the_series_of_the_first(tmp_path: Path) -> None:
    """Through the file, which is all that is remembered; a damaged one is replaced."""
    write_run_metrics(settings(tmp_path), "retrain", 0)
    first = exposition(tmp_path)
    write_run_metrics(settings(tmp_path), "collect", 1)
    second = exposition(tmp_path)
    assert {name: second[name] for name in first if RETRAIN in name} == {
        name: value for name, value in first.items() if RETRAIN in name
    }
    assert second[f"pipeline_last_run_status{COLLECT}"] == 1
    (tmp_path / "logs" / "metrics" / "pipeline.prom").write_bytes(b"\xff\x00 1\n")
    write_run_metrics(settings(tmp_path), "collect", 3)
    assert exposition(tmp_path)[f"pipeline_last_run_status{COLLECT}"] == 3


@pytest.mark.parametrize("content", ['{"lags": 7', '{"format": 2}', '{"format": 1, "lags": [1]}'])
def test_a_run_that_failed_for_a_damaged_state_is_a_metric(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the alert on failed runs would stay silent. The log names the file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "collected.json").write_text(content)
    write_run_metrics(settings(tmp_path), "collect", 1)
    assert exposition(tmp_path)[f"pipeline_last_run_status{COLLECT}"] == 1
    assert "collected.json" in caplog.text


@pytest.mark.parametrize("damage", ["version.txt", "versioning/report_4.json", "../logs"])
def test_metrics_that_cannot_be_written_fail_nothing(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged state or a folder that cannot be made: the run's end stays what it is."""
    (tmp_path / "data" / "versioning").mkdir(parents=True)
    (tmp_path / "data" / "version.txt").write_text("4\n")
    (tmp_path / "data" / damage).write_text('{"trained_on": 5, "lags": 7' if damage != "version.txt" else "four")
    with caplog.at_level(logging.WARNING):
        write_run_metrics(settings(tmp_path), "retrain", 0)
    assert "Prometheus does not get the metrics of this run" in caplog.text
    assert not (tmp_path / "logs" / "metrics" / "pipeline.prom").exists()


def test_a_check_of_a_canary_has_a_file_of_its_own(tmp_path: Path) -> None:
    """The last one's time, readable by any user; neither file touches the other."""
    write_run_metrics(settings(tmp_path), "collect", 0)
    before = exposition(tmp_path)
    for now in (NOW, NOW + 60):
        write_check_time(tmp_path / "logs", now)
    path = tmp_path / "logs" / "metrics" / "release_look.prom"
    (family,) = text_string_to_metric_families(path.read_text())
    assert [(each.name, each.value) for each in family.samples] == [("release_last_look_time_seconds", NOW + 60)]
    assert path.stat().st_mode & 0o777 == 0o644
    assert exposition(tmp_path) == before


def test_a_check_time_that_cannot_be_written_fails_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A release goes on without it."""
    (tmp_path / "logs").write_text("a file")
    with caplog.at_level(logging.WARNING):
        write_check_time(tmp_path / "logs", NOW)
    assert "Prometheus does not get the time of this check" in caplog.text
