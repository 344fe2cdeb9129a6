from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from scripts.simulator import arguments
from scripts.simulator.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

RATING = re.compile(r"[0-9T:-]{16,19},([0-9]{1,7}),GET /rate/([a-z0-9+._*-]+)=([1-5])")
WATCH = re.compile(r"[0-9T:-]{16,19},[0-9]{1,7},GET /data/m/[a-z0-9+._*-]+/[0-9]+\.mpg")


@pytest.fixture(scope="module")
def shipped(root: Path) -> list[str]:
    """The lines of the sample."""
    return (root / arguments.SAMPLE_PATH).read_text("utf-8").splitlines()


def test_the_command_writes_the_sample_again(root: Path, tmp_path: Path) -> None:
    """The recorded command gives the shipped file, byte for byte."""
    again = tmp_path / "movielog.log"
    assert main([*arguments.SAMPLE_ARGUMENTS, "--quiet", "--output", str(again)]) == 0
    assert again.read_bytes() == (root / arguments.SAMPLE_PATH).read_bytes()


def test_the_sample_is_small_enough_to_ship(root: Path) -> None:
    """Less than a million bytes."""
    assert (root / arguments.SAMPLE_PATH).stat().st_size < 1_000_000


def test_the_sample_holds_enough_to_train_on(shipped: list[str]) -> None:
    """Several ratings a user, hundreds of films, and about as many watch lines."""
    ratings = [match for line in shipped if (match := RATING.fullmatch(line))]
    assert 6500 <= len(ratings) <= 7500
    assert 800 <= len({match[1] for match in ratings}) <= 1000
    assert 380 <= len({match[2] for match in ratings}) <= 420
    assert {match[3] for match in ratings} == set("12345")
    assert 6500 <= sum(WATCH.fullmatch(line) is not None for line in shipped) <= 7500


def test_the_sample_holds_every_kind_of_line_and_damage(shipped: list[str]) -> None:
    """Requests that succeed and fail, new accounts, and at least a handful of each kind of damage."""
    kinds = Counter[str]()
    for line in shipped:
        kinds["request"] += ", status 200, result: " in line
        kinds["failed request"] += ", status 0, result: " in line
        kinds["account"] += line.endswith("GET /create_account")
        kinds["nothing rated"] += line.endswith("GET /rate/=")
        kinds["film without rating"] += re.search(r"GET /rate/.+=$", line) is not None
        kinds["blank inserted"] += line.count(" ") != 1 and "recommendation" not in line
        kinds["rating damaged"] += "/rate/" in line and not line.endswith("=") and not RATING.fullmatch(line)
        kinds["watch damaged"] += "/data/m/" in line and not WATCH.fullmatch(line)
    assert kinds["request"] >= 100
    assert kinds["failed request"] >= 1
    assert kinds["account"] >= 50
    assert kinds["blank inserted"] >= 1
    for kind in ("nothing rated", "film without rating", "rating damaged", "watch damaged"):
        assert kinds[kind] >= 4, kind
