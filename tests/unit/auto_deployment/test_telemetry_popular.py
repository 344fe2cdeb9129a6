from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.model import ArtifactError, film_arrays, save
from auto_deployment.rows import Counts, Rows
from auto_deployment.tables import Tables
from auto_deployment.telemetry.database import Database
from auto_deployment.telemetry.popular import Popular

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


def tables_of(folder: Path, rated: list[tuple[int, str]], watched: list[tuple[int, str]]) -> Tables:
    """Tables with these pairs of user and film."""
    (folder / "data").mkdir()
    tables = Tables(folder / "data")
    ratings = [f"{user},{film},4,{TIME}" for user, film in rated]
    tables.append(Rows(ratings, [f"{user},{film},3,{TIME}" for user, film in watched], [], [], Counts()))
    return tables


def seen(folder: Path, popular: Popular, version: int) -> dict[int, int]:
    """What users of a version had seen, as bits."""
    with Database(folder / "scratch") as database:
        database.run("CREATE TEMP TABLE asked AS SELECT unnest([5, 6, 8]) AS user_id")
        popular.load(database, [None, 3, version])
        return dict(database.rows("SELECT user_id, places FROM seen ORDER BY user_id"))


def test_the_list_is_kept_with_who_had_seen_what_of_it(tmp_path: Path) -> None:
    """Rated or watched, however often; up to the last of forty; other films and users do not matter."""
    popular = Popular(tmp_path / "popular")
    places = [3, 0, *range(10, 48)]
    tables = tables_of(
        tmp_path, [(5, FILMS[3]), (5, FILMS[3]), (7, FILMS[0])], [(5, FILMS[47]), (5, FILMS[3]), (6, FILMS[0]), (6, FILMS[1])]
    )
    popular.keep(model_of(tmp_path, places), tables, tmp_path / "scratch")
    assert popular.films(7) == [FILMS[place] for place in places]
    assert seen(tmp_path, popular, 7) == {5: 1 | 1 << 39, 6: 2}


def test_a_version_that_is_made_again_has_its_new_list(tmp_path: Path) -> None:
    """Its first attempt was refused or killed."""
    popular, tables = Popular(tmp_path / "popular"), tables_of(tmp_path, [(5, FILMS[3])], [])
    for places in ([3, 4], [4, 3]):
        popular.keep(model_of(tmp_path, places), tables, tmp_path / "scratch")
    assert popular.films(7) == [FILMS[4], FILMS[3]]
    assert seen(tmp_path, popular, 7) == {5: 2}


def test_what_was_not_kept_is_not_there(tmp_path: Path) -> None:
    """No list, no error; an artifact that cannot be read is one."""
    popular = Popular(tmp_path / "popular")
    assert popular.films(7) is None
    assert seen(tmp_path, popular, 7) == {}
    with pytest.raises(ArtifactError):
        popular.keep(tmp_path / "nowhere", Tables(tmp_path), tmp_path / "scratch")
