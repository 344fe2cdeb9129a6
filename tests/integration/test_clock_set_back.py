"""The machine's clock is set back by more than a year: between two runs, and under a scheduler."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.checkout import ROOT, Checkout
from tests.integration.faketime import NoFaketimeError, environment_at
from tests.integration.post_office import open_post_office

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SAMPLE = ROOT / "data" / "sample" / "movielog.log"
DAYS = 400


@pytest.fixture
def right() -> dict[str, str]:
    """The environment of processes whose clock goes right."""
    try:
        return environment_at(0)
    except NoFaketimeError as error:
        pytest.skip(str(error))


def parts_of(folder: Path) -> list[Path]:
    """The sample in two files."""
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    paths = [folder / "first.log", folder / "second.log"]
    for path, part in zip(paths, (lines[:9_000], lines[9_000:]), strict=True):
        path.write_bytes(b"".join(part))
    return paths


def test_a_version_after_the_clock_was_set_back_is_whole_and_says_so(right: dict[str, str], tmp_path: Path) -> None:
    """Data, git and DVC are as ever, log and quarantine roll; log and mail tell which times contradict each other."""
    first, second = parts_of(tmp_path)
    host = Checkout(tmp_path / "host", tmp_path)
    host.environment |= right
    assert host.run("--input", str(first)).returncode == 0
    host.environment |= environment_at(-DAYS)
    with open_post_office() as office:
        ended = host.run("--input", str(second), **office.environment)
        ((_, text),) = office.read()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    reports = [json.loads(host.data(f"versioning/report_{number}.json").read_bytes()) for number in (1, 2)]
    earlier, later = (report["trained_on"] for report in reports)
    assert later < earlier
    warning = f"the clock was SET BACK: this version is of {later}, the last one of {earlier}"
    assert warning in " ".join(text.split())  # a mail breaks its lines
    assert warning in ended.stderr
    (tmp_path / "calm").mkdir()
    calm = Checkout(tmp_path / "calm" / "host", tmp_path / "calm")
    for path in (first, second):
        assert calm.run("--input", str(path), "--collect-only").returncode == 0
    assert host.data("clean_rating.csv").read_bytes() == calm.data("clean_rating.csv").read_bytes()
    assert host.minutes() == calm.minutes()
    aside = [path.read_text().splitlines() for path in sorted(host.data("quarantine").iterdir())]
    assert [len(lines) for lines in aside] == [sum(report["lines"]["rejected"].values()) for report in reports]
    subjects = "Data and Model version update: [2]\nData and Model version update: [1]\nThe code"
    assert host.command("git", "log", "--format=%s", "origin/main") == subjects
    assert host.command("git", "tag", "--list").split() == ["model-1", "model-2"]
    assert host.command("git", "status", "--short") == ""
    assert host.command("dvc", "status", "--quiet", "--cloud", "data/model.dvc", "data/versioning/clean_rating_2.csv.dvc") == ""
    logs = {path.name: path.read_text() for path in (host.folder / "logs").glob("auto_deploy.log*")}
    assert set(logs) == {"auto_deploy.log", "auto_deploy.log.1"}
    assert warning in logs["auto_deploy.log"]
    assert "step track" in logs["auto_deploy.log.1"]
    host.environment |= right
    again = host.run("--input", str(second))
    assert (again.returncode, host.data("version.txt").read_text()) == (0, "2\n")
    assert "nothing new" in again.stdout
