from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from app.fresh.overlay import Status, write_status
from app.metrics import Freshness, ProcessFiles

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client.registry import Collector

LABELS = {"track": "stable", "version": "7"}


@pytest.fixture(scope="module")
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def save(file: Path, value: float) -> bytes:
    """Write a process's file with one counter; its bytes as far as they are used."""
    counts = MmapedDict(str(file))
    counts.write_value(mmap_key("requests", "requests_total", list(LABELS), list(LABELS.values()), "Requests"), value, 0.0)
    counts.close()
    return file.read_bytes()[:400]


def collected(files: Collector) -> dict[str, float]:
    """What a scrape shows, by name; every series has the service's labels."""
    samples = [sample for metric in files.collect() for sample in metric.samples]
    assert all(sample.labels == LABELS for sample in samples)
    return {sample.name: sample.value for sample in samples}


def test_the_files_of_all_processes_are_added_up(tmp_path: Path, gone: int) -> None:
    """Those of processes that have ended too; none is lost."""
    save(tmp_path / f"counter_{os.getpid()}.db", 3)
    save(tmp_path / f"counter_{gone}.db", 4)
    assert collected(ProcessFiles(tmp_path, LABELS)) == {"requests_total": 7, "metrics_files_lost_total": 0}


@pytest.mark.parametrize("damage", ["empty", "torn header", "torn entry", "other bytes", "text", "a number too large"])
def test_a_damaged_file_of_a_process_that_is_gone_is_lost_and_counted(tmp_path: Path, gone: int, damage: str) -> None:
    """The others still count, the damaged file is counted once, and no later worker with its number meets it."""
    save(tmp_path / f"counter_{os.getpid()}.db", 3)
    broken = tmp_path / f"counter_{gone}.db"
    whole = save(broken, 4)
    contents = {
        "empty": b"",
        "torn header": whole[:3],
        "torn entry": whole[:60],
        "other bytes": b"\x40\0\0\0\0\0\0\0\x08\0\0\0" + b"\xff" * 80,
        "text": b"not a file of counts\n" * 10,
        "a number too large": b"\xff\xff\xff\x7f" + whole[4:],
    }
    broken.write_bytes(contents[damage])
    files = ProcessFiles(tmp_path, LABELS)
    assert collected(files) == {"requests_total": 3, "metrics_files_lost_total": 1}
    assert collected(files) == {"requests_total": 3, "metrics_files_lost_total": 1}
    assert not broken.exists()


def test_how_fresh_answers_are_is_what_the_writer_last_wrote(tmp_path: Path) -> None:
    """Without a status that can be read the time is 0, which an alert sees."""
    freshness = Freshness(tmp_path, LABELS)
    names = ("fresh_as_of_seconds", "fresh_users", "fresh_lists_due", "fresh_lists_total", "fresh_lines_lost_total")
    assert collected(freshness) == dict.fromkeys(names, 0.0)
    write_status(tmp_path, Status(1_767_600_000.5, users=5, due=1, lists=7, lost=2))
    assert collected(freshness) == dict(zip(names, (1_767_600_000.5, 5, 1, 7, 2), strict=True))


@pytest.mark.parametrize("name", ["counter.db", "gauge_max.db", "unknown_0.db", "notes.db"])
def test_a_foreign_file_is_lost_and_counted(tmp_path: Path, name: str) -> None:
    """A name that no process gives, whatever the file holds; a folder too."""
    save(tmp_path / f"counter_{os.getpid()}.db", 3)
    (tmp_path / name).write_text("foreign")
    (tmp_path / f"folder-{name}").mkdir()
    assert collected(ProcessFiles(tmp_path, LABELS)) == {"requests_total": 3, "metrics_files_lost_total": 2}


def test_a_file_that_a_running_process_has_just_made_is_not_lost(tmp_path: Path) -> None:
    """The file is empty at one scrape and holds counts at the next; a file that stays empty is lost."""
    young = tmp_path / f"counter_{os.getpid()}.db"
    young.touch()
    files = ProcessFiles(tmp_path, LABELS)
    assert collected(files) == {"metrics_files_lost_total": 0}
    save(young, 5)
    assert collected(files) == {"requests_total": 5, "metrics_files_lost_total": 0}
    os.truncate(young, 0)
    assert [collected(files)["metrics_files_lost_total"] for _ in range(3)] == [0, 1, 1]
