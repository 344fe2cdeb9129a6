from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.model import ServingModel
from auto_deployment.ingestion.tables import Tables
from auto_deployment.training.dataset import read
from auto_deployment.versioning.repository import TABLES
from scripts.check.data import JoinedParts, join_parts, numbers, served_again, totals

if TYPE_CHECKING:
    from pathlib import Path

RATINGS = JoinedParts("a" * 32, 5, 90)
WATCHES = JoinedParts("b" * 32, 3, 70)
JOINED = {"clean_rating": RATINGS, "clean_watch": WATCHES}


def matching() -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and offsets that fit the parts."""
    data = {f"{name}.csv": {"md5": joined.md5, "rows": joined.rows} for name, joined in JOINED.items()}
    sizes = {name: joined.size for name, joined in JOINED.items()}
    return {"data": data, "data_md5": RATINGS.md5}, {"version": 4, "sizes": sizes}


def test_parts_make_the_table_they_were_cut_from(tmp_path: Path) -> None:
    """One header, all rows in order; an empty part adds nothing."""
    rows = [f"{user},film,4,2026-01-01T00:00:00\n" for user in range(10)]
    header = "user_id,movie_id,rating,rated_at\n"
    parts = [tmp_path / f"{at}.csv" for at in range(3)]
    for path, cut in zip(parts, (rows[:4], [], rows[4:]), strict=True):
        path.write_text(header + "".join(cut))
    whole = (header + "".join(rows)).encode()
    assert join_parts(parts) == JoinedParts(hashlib.md5(whole, usedforsecurity=False).hexdigest(), 10, len(whole))


def test_matching_parts_pass() -> None:
    """Rows, checksums, sizes and number agree."""
    assert totals(JOINED, *matching(), 4) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"clean_rating": RATINGS._replace(rows=4)}, "clean_rating: 4 rows, but the model was trained on 5"),
        ({"clean_rating": RATINGS._replace(md5="c" * 32)}, f"clean_rating: md5 {'c' * 32}"),
        ({"clean_watch": WATCHES._replace(size=71)}, "clean_watch: 71 bytes, but offsets.json says 70"),
    ],
)
def test_a_different_table_is_named(changed: dict[str, JoinedParts], words: str) -> None:
    """The message has both values."""
    wrong = totals({**JOINED, **changed}, *matching(), 4)
    assert len(wrong) == 1
    assert wrong[0].startswith(words)


def test_files_of_another_version_are_named() -> None:
    """The offsets' number, and two different checksums of the ratings."""
    metadata, offsets = matching()
    wrong = totals(JOINED, {**metadata, "data_md5": "d" * 32}, offsets, 5)
    assert [line.split()[0] for line in wrong] == ["data_md5", "offsets.json"]


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([1, 2, 3], []),
        ([1, 3], ["clean_rating: git names no part of version 2"]),
        ([1, 2, 3, 4], ["clean_rating: git names parts beyond version 3: 4"]),
        ([], ["clean_rating: git names no part of version 1, 2, 3"]),
    ],
)
def test_each_version_has_its_part(found: list[int], wrong: list[str]) -> None:
    """Missing and surplus parts are named."""
    assert numbers(3, {"clean_rating": found}) == wrong


def film(name: str) -> str:
    """An id of the stream's form."""
    return f"film+{name}+1990"


def model() -> ServingModel:
    """Two users with a list each: 7 gets a and b, 9 gets c."""
    top = np.full((2, 40), np.iinfo(np.uint16).max, dtype=np.uint16)
    top[0, :2], top[1, 0] = (0, 1), 2
    return ServingModel({"version": 1}, np.array([7, 9]), top, top[:1], tuple(map(film, "abc")))


@pytest.mark.parametrize(
    ("rated", "watched", "again"),
    [
        (["7,c", "9,a"], ["9,b"], 0),  # watched, and not in the list
        (["7,b", "9,a"], ["9,b"], 1),
        (["7,b"], ["9,c", "7,a"], 2),  # both films of user 7 count as one list
        (["8,a", "7,zzz"], [], 0),  # an unknown user; a film that is not in the catalogue
        ([], [], 0),
    ],
)
def test_a_list_with_a_watched_film_is_counted(tmp_path: Path, rated: list[str], watched: list[str], again: int) -> None:
    """Rated or watched films, by the rows of the version's own parts. The parts may be empty."""
    tables, minute = Tables(tmp_path), "2026-01-01T00:00:00"
    contents = {
        "clean_rating": ["user_id,movie_id,rating,rated_at", *(f"{pair[0]},{film(pair[2:])},4,{minute}" for pair in rated)],
        "clean_watch": ["user_id,movie_id,minutes,watched_at", *(f"{pair[0]},{film(pair[2:])},9,{minute}" for pair in watched)],
    }
    for name in TABLES:
        (tmp_path / f"{name}.csv").write_text("\n".join(contents[name]) + "\n")
    assert served_again(model(), read(tables, (1, 5))) == again
