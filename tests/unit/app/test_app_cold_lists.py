from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.model import RESERVE, ArtifactError, load_serving
from app.recommender import Answer, Recommender
from tests.unit.app import samples
from tests.unit.app.samples import FILMS, FULL, POPULAR

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = {"cold_lists": ["popular", "F", "M"]}


def arrays() -> dict[str, Any]:
    """Films 10 to 49 are popular, 0 to 39 in the first group, which user 2 is in, 5 to 44 in the second, which user 8 is in."""
    cold = np.stack([np.arange(start, start + RESERVE, dtype=np.uint16) for start in (10, 0, 5)])
    return {"cold": cold, "cold_users": np.array([2, 8]), "cold_of": np.array([1, 2], dtype=np.uint16)}


def test_who_is_not_known_but_their_group_gets_its_list(tmp_path: Path) -> None:
    """Told apart by the step; a known user keeps their own list, everybody else gets what is popular, ids around included."""
    recommender = Recommender(load_serving(samples.save(tmp_path / "model", GROUPS, **arrays())))
    assert recommender.recommend(2) == Answer(",".join(FILMS[:20]), "demographics")
    assert recommender.recommend(8) == Answer(",".join(FILMS[5:25]), "demographics")
    assert recommender.recommend(FULL).step == "known"
    for user in (0, 1, 3, 7, 9, 2**63 - 1):
        assert recommender.recommend(user) == Answer(POPULAR, "popular")


def test_an_empty_list_of_a_group_is_a_problem(tmp_path: Path) -> None:
    """Nobody may get an empty answer."""
    given = arrays()
    given["cold"][2] = np.iinfo(np.uint16).max
    recommender = Recommender(load_serving(samples.save(tmp_path / "model", GROUPS, **given)))
    assert recommender.problems() == ["the list 'demographics' is empty"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"cold_users": np.array([8, 2])},
        {"cold_users": np.array([2, 2])},
        {"cold_users": np.array([2, 8, 9])},
        {"cold_users": np.array([2, 8], dtype=np.int32)},
        {"cold_of": np.array([1, 3], dtype=np.uint16)},
        {"cold_of": np.array([1, 2], dtype=np.int64)},
    ],
)
def test_users_and_their_lists_have_to_fit(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """In order, one list for each, a list that is there, of the right type."""
    folder = samples.save(tmp_path / "model", GROUPS, **{**arrays(), **wrong})
    with pytest.raises(ArtifactError, match="cold_users and cold_of do not fit each other"):
        load_serving(folder)


def test_users_without_their_lists_are_refused(tmp_path: Path) -> None:
    """One array alone says nothing."""
    given = arrays()
    del given["cold_of"]
    with pytest.raises(ArtifactError, match="cold_users and cold_of do not fit each other"):
        load_serving(samples.save(tmp_path / "model", GROUPS, **given))
