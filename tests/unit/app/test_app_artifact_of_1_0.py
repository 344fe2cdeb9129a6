from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.model import RESERVE, load_serving
from app.recommender import Answer, Recommender
from tests.unit.app import samples
from tests.unit.app.samples import POPULAR

if TYPE_CHECKING:
    from pathlib import Path


def test_an_artifact_with_lists_of_groups_still_answers(tmp_path: Path) -> None:
    """Software 1.0 could add such lists. All users without a history get the popular list now."""
    lists = np.stack([np.arange(start, start + RESERVE, dtype=np.uint16) for start in (10, 0, 5)])
    groups = {"cold": lists, "cold_users": np.array([2, 8]), "cold_of": np.array([1, 2], dtype=np.uint16)}
    folder = samples.save(tmp_path / "model", {"cold_lists": ["popular", "F", "M"]}, **groups)
    recommender = Recommender(load_serving(folder))
    assert [recommender.recommend(user) for user in (2, 8, 9)] == [Answer(POPULAR, "popular")] * 3
    assert recommender.problems() == []
