from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.bench import fixtures, rebuild

if TYPE_CHECKING:
    from pathlib import Path


def test_the_cost_of_two_days_comes_from_a_part_of_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watched has a list. A small table, measured as the large one is."""
    monkeypatch.setattr(rebuild, "USERS", 300)
    monkeypatch.setattr(rebuild, "COMPUTED", 50)
    model = fixtures.artifact(tmp_path / "model", 300, 9000, fresh=True)
    found = rebuild.measured(model, 400, 50)
    assert found.measured_lines == 400 * 6 + 50 * rebuild.LATER_MINUTES
    assert 300 < found.users == found.lists <= 400
    assert found.read_s > rebuild.LINES * 400 / rebuild.VIEWINGS * 0.9 * found.line_us / 1e6
    assert found.recent_s > 0
    assert 0 < found.file_gb < found.peak_gb
    assert not (tmp_path / "model" / "base").exists()


def test_a_viewing_is_five_minutes_and_a_rating() -> None:
    """Each line a minute after the one before, and many viewings at a time."""
    blocks = [*rebuild._stream(range(40), ["a+film+1999"] * 40, 20)]
    places = {user: [at for at, block in enumerate(blocks) for line in block if f",{user}," in line] for user in range(40)}
    assert all(len(found) == 6 and {b - a for a, b in pairwise(found)} == {1} for found in places.values())
    assert max(map(len, blocks)) == 24


def test_time_and_memory_are_held_against_their_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lists' time has what is written meanwhile: a base for each twentieth of the users, and every five minutes."""
    found = rebuild.Found(6_750_000, 520_000, 500_000, 4.0, 1300.0, 400.0, 650.0, 2.0, 0.02, 0.1, 1.8)
    ended = subprocess.CompletedProcess[str]([], 0, json.dumps(asdict(found)))
    monkeypatch.setattr("tests.bench.rebuild.subprocess.run", lambda *_, **__: ended)
    struck, listed, memory = rebuild.rows(tmp_path)
    assert (struck.ours, struck.baseline, struck.met) == (402.0, 1800.0, True)
    assert listed.ours == pytest.approx(400 + 2 + 650 * 1.02 + (500_000 / 26_000 + 650 / 300) * 2)
    assert (memory.ours, memory.met) == (1.8, False)
