from __future__ import annotations

import os
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.model import ArtifactError, film_arrays, save
from auto_deployment.common.database import Database, quoted
from auto_deployment.online_evaluation.popular import Popular, superseded

if TYPE_CHECKING:
    from pathlib import Path

FILMS = tuple(f"film+{at}+1999" for at in range(50))
TIME = "2026-01-05T08:00:00"


def model_of(folder: Path, popular: list[int], version: int = 7) -> Path:
    """An artifact with that popular list, as places of FILMS."""
    empty = np.iinfo(np.uint16).max
    cold = np.array([popular + [empty] * (40 - len(popular))], np.uint16)
    arrays = {"users": np.array([5, 6]), "top": np.full((2, 40), empty, np.uint16), "cold": cold, **film_arrays(FILMS)}
    save(folder / "model", {"version": version, "cold_lists": ["popular"]}, arrays, {})
    return folder / "model"


def pairs_of(pairs: list[tuple[int, str]]) -> str:
    """These pairs of user and film as an SQL relation."""
    rows = ", ".join(f"({user}, {quoted(film)})" for user, film in pairs)
    return f"(SELECT * FROM (VALUES {rows}) pairs(user_id, movie_id))"


def seen(folder: Path, popular: Popular, version: int) -> dict[int, int]:
    """What users of a version had seen, as bits."""
    with Database(folder / "scratch") as database:
        database.run("CREATE TEMP TABLE answered AS SELECT unnest([5, 6, 8]) AS user_id")
        popular.load(database, [None, 3, version])
        return dict(database.rows("SELECT user_id, places FROM seen ORDER BY user_id"))


def test_the_list_is_kept_with_who_had_seen_what_of_it(tmp_path: Path) -> None:
    """Rated or watched, however often; up to the last of forty; other films and users do not matter."""
    popular = Popular(tmp_path / "popular")
    places = [3, 0, *range(10, 48)]
    pairs = [(5, FILMS[3]), (5, FILMS[3]), (7, FILMS[0]), (5, FILMS[47]), (5, FILMS[3]), (6, FILMS[0]), (6, FILMS[1])]
    popular.keep(model_of(tmp_path, places), pairs_of(pairs), tmp_path / "scratch")
    assert popular.films(7) == [FILMS[place] for place in places]
    assert seen(tmp_path, popular, 7) == {5: 1 | 1 << 39, 6: 2}


def test_a_version_that_is_made_again_has_its_new_list(tmp_path: Path) -> None:
    """Its first attempt was refused or killed."""
    popular, pairs = Popular(tmp_path / "popular"), pairs_of([(5, FILMS[3])])
    for places in ([3, 4], [4, 3]):
        popular.keep(model_of(tmp_path, places), pairs, tmp_path / "scratch")
    assert popular.films(7) == [FILMS[4], FILMS[3]]
    assert seen(tmp_path, popular, 7) == {5: 2}


def test_what_was_not_kept_is_not_there(tmp_path: Path) -> None:
    """No list, no error; an artifact that cannot be read is one."""
    popular = Popular(tmp_path / "popular")
    assert popular.films(7) is None
    assert seen(tmp_path, popular, 7) == {}
    with pytest.raises(ArtifactError):
        popular.keep(tmp_path / "nowhere", pairs_of([(5, FILMS[3])]), tmp_path / "scratch")


def test_lists_of_versions_that_answer_no_more_go() -> None:
    """Of those made a week before the oldest day the last few stay, for one of them was in service then."""
    made = {version: date(2026, 1, 1) + timedelta(days=2 * version) for version in range(1, 12)}
    assert superseded(made, date(2026, 1, 22)) == [1, 2]
    assert superseded(made, date(2026, 1, 1)) == []
    assert superseded({7: date(2020, 1, 1)}, date(2026, 1, 1)) == []


def test_a_list_goes_with_who_had_seen_it(tmp_path: Path) -> None:
    """Both files, by when they were made."""
    popular, pairs = Popular(tmp_path / "popular"), pairs_of([(5, FILMS[3])])
    for version in range(1, 7):
        popular.keep(model_of(tmp_path, [3, 0], version), pairs, tmp_path / "scratch")
        for path in (tmp_path / "popular").glob(f"{version}.*"):
            os.utime(path, (version * 86_400, version * 86_400))
    before = popular.size()
    popular.drop_before(date(1970, 2, 1))
    assert sorted(path.name for path in (tmp_path / "popular").iterdir()) == sorted(
        f"{version}.{kind}" for version in range(3, 7) for kind in ("json", "parquet")
    )
    assert 0 < popular.size() < before
