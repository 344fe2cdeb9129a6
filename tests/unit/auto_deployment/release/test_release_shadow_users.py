"""Whom a new version is tried on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.journal import Row
from app.model import film_arrays, save
from app.provenance.archive import Archive
from auto_deployment.release.shadow import LEAST, MOST, choose

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An artifact of three users."""
    arrays = {"users": np.array([5, 6, 7]), "top": np.zeros((3, 40), np.uint16), "cold": np.zeros((1, 40), np.uint16)}
    save(tmp_path / "model", {"version": 7, "cold_lists": ["all"]}, {**arrays, **film_arrays(("a",))}, {})
    return tmp_path / "model"


def database(tmp_path: Path, answers: int) -> str:
    """One that has recorded so many."""
    url = f"sqlite:///{tmp_path / 'answers.sqlite'}"
    archive = Archive(url)
    archive.create()
    rows = [Row(f"{number:032d}", "r", number, 6, "stable", 1, "known", "0" * 16, "") for number in range(answers)]
    archive.add_answers("stable-1/1.tsv", rows, 1)
    archive.close()
    return url


def test_recorded_requests_are_asked_again(tmp_path: Path) -> None:
    """The last of them, where there are enough; the artifact is not even read."""
    users, source = choose(database(tmp_path, LEAST), tmp_path / "nowhere", 7)
    assert (users[0], len(users), source) == (LEAST - 1, LEAST, "recorded")


@pytest.mark.parametrize("url", [None, "few", "sqlite:////nowhere/at/all.sqlite"])
def test_with_few_recorded_or_no_database_the_artifact_tells_whom(tmp_path: Path, model: Path, url: str | None) -> None:
    """Its own users, the same ones for a version whenever it is asked."""
    known = database(tmp_path, LEAST - 1) if url == "few" else url
    users, source = choose(known, model, 7)
    assert (len(users), set(users), source) == (MOST, {5, 6, 7}, "drawn from the artifact")
    assert choose(known, model, 7)[0] == users
