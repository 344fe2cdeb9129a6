"""A run that is killed at any moment is gone on with by the next one, to the very end of an undisturbed one."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.model import load_rating
from tests.integration.checkout import ROOT, Checkout

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = ROOT / "data" / "sample" / "movielog.log"
KILLS = 5
SOAK_KILLS = 50
LONGEST_SECONDS = 5.0

pytestmark = [pytest.mark.crash, pytest.mark.slow]


def outcome(checkout: Checkout) -> dict[str, object]:
    """Everything that an undisturbed run and a killed one must have in common."""
    aside = sorted(str(path.relative_to(checkout.data(""))) for path in checkout.folder.glob("data/*/re*.jsonl"))
    files = ["clean_rating.csv", "open_watch_since_2.csv", "version.txt", *aside]
    parts = sorted(checkout.folder.glob("data/versioning/clean_*.dvc"))
    here = ["data/model.dvc", "data/versioning/clean_rating_2.csv.dvc", "data/versioning/clean_watch_2.parquet.dvc"]
    return {
        **{name: checkout.data(name).read_bytes() for name in files},
        **{path.name: path.read_bytes() for path in parts},
        "minutes": checkout.minutes(),
        "offsets": checkout.data("versioning/offsets.json").read_bytes(),
        "commits": checkout.command("git", "log", "--format=%s"),
        "pushed": checkout.command("git", "log", "--format=%s", "origin/main"),
        "tags": checkout.command("git", "tag", "--list"),
        "tags there": [line.split("\t")[1] for line in checkout.command("git", "ls-remote", "--tags", "origin").splitlines()],
        "changes": checkout.command("git", "status", "--short"),
        "dvc": checkout.command("dvc", "status", "--quiet", *here),
        "in the DVC remote": checkout.command("dvc", "status", "--quiet", "--cloud", *here),
    }


def inputs(folder: Path) -> list[list[str]]:
    """The arguments of two runs: the sample's first part, then all of it."""
    folder.mkdir(exist_ok=True)
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    first, second = folder / "first.log", folder / "second.log"
    first.write_bytes(b"".join(lines[:9000]))
    second.write_bytes(b"".join(lines[9000:]))
    return [["--input", str(first)], ["--input", str(first), "--input", str(second)]]


def wanted_kills(hours: float) -> int:
    """The fewest kills of a test, by the hours of its soak: 0 where it is none."""
    return SOAK_KILLS if hours else KILLS


@pytest.mark.parametrize(("hours", "kills"), [(0.0, 5), (0.0001, 50), (1.0, 50)])
def test_a_soak_kills_at_least_fifty_times_whatever_its_hours(hours: float, kills: int) -> None:
    """Without one it is a sample."""
    assert wanted_kills(hours) == kills


def test_kills_at_random_moments_change_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Killed with -9 again and again: tables, parts, version, commits, tags, remotes and model as undisturbed."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    (tmp_path / "calm").mkdir()
    runs = inputs(tmp_path / "inputs")
    calm = Checkout(tmp_path / "calm" / "host", tmp_path / "calm")
    for arguments in runs:
        assert calm.run(*arguments).returncode == 0
    expected = outcome(calm)
    hours = request.config.getoption("--soak-hours")
    until = time.monotonic() + 3600 * hours
    wanted, kills = wanted_kills(hours), 0
    while kills < wanted or time.monotonic() < until:
        base = tmp_path / f"killed-{kills}"
        base.mkdir()
        kills += killed(base, runs, chance, expected, calm)
    print(f"{kills} kills")


def killed(base: Path, runs: list[list[str]], chance: random.Random, expected: dict[str, object], calm: Checkout) -> int:
    """The same two runs with kills in between; how many."""
    checkout, kills = Checkout(base / "host", base), 0
    for arguments in runs:
        for _ in range(3):
            kills += checkout.kill_at(chance.uniform(0.3, LONGEST_SECONDS), *arguments)
        ended = checkout.run(*arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert outcome(checkout) == expected
    ours, theirs = load_rating(checkout.data("model")), load_rating(calm.data("model"))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    return kills
