from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.model import ServingModel
from auto_deployment.common.database import Database
from auto_deployment.common.errors import RefusedError
from auto_deployment.common.json_file import write_json_synced
from auto_deployment.common.settings import load_settings
from scripts.check.checkout import Checkout, Part
from scripts.check.data import (
    RECORD,
    CheckedParts,
    Scope,
    changed,
    first_unread,
    joined,
    joined_size,
    needs,
    numbers,
    read_part,
    scope_of,
    served_again,
    totals,
)
from tests.unit.auto_deployment.versioned import VersionedCheckout, rating_part, watch_part

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = "user_id,movie_id,rating,rated_at\n"
WATCH_HEADER = "user_id,movie_id,minutes,watched_at\n"
PARTS = {
    "clean_rating": {1: Part(Path("clean_rating_1.csv"), "1" * 32, 60), 2: Part(Path("clean_rating_2.csv"), "2" * 32, 50)},
    "clean_watch": {1: Part(Path("clean_watch_1.parquet"), "a" * 32, 9), 2: Part(Path("clean_watch_2.parquet"), "b" * 32, 9)},
}
ROWS = {"clean_rating": 5, "clean_watch": 3}
NAMED = {part.path.name: part.md5 for table in PARTS.values() for part in table.values()}


def md5(content: bytes) -> str:
    """As git names a file."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def matching() -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and offsets that fit PARTS and ROWS."""
    listed = f"{'a' * 32}  clean_watch_1.parquet\n{'b' * 32}  clean_watch_2.parquet\n"
    watches = {"md5": md5(listed.encode()), "rows": 3}
    data = {"clean_rating.csv": {"md5": "c" * 32, "rows": 5}, "clean_watch": watches}
    sizes = {"clean_rating": 60 + 50 - len(HEADER)}
    return {"data": data, "data_md5": "c" * 32}, {"version": 2, "sizes": sizes}


def test_matching_parts_pass() -> None:
    """Rows, the ratings' bytes, the watches' list of parts, and the version."""
    assert totals(PARTS, ROWS, *matching(), 2) == []


@pytest.mark.parametrize(
    ("parts", "rows", "words"),
    [
        ({}, {"clean_rating": 4}, "clean_rating: 4 rows, but the model was trained on 5"),
        ({}, {"clean_watch": 4}, "clean_watch: 4 rows, but the model was trained on 3"),
        ({"clean_rating": {1: PARTS["clean_rating"][1]}}, {}, "clean_rating: 60 bytes, but offsets.json says 77"),
        ({"clean_watch": {1: PARTS["clean_watch"][1]}}, {}, "clean_watch: the list of parts has md5"),
    ],
)
def test_data_that_the_model_was_not_trained_on_are_named(
    parts: dict[str, dict[int, Part]], rows: dict[str, int], words: str
) -> None:
    """The message has both values."""
    (wrong,) = totals({**PARTS, **parts}, {**ROWS, **rows}, *matching(), 2)
    assert wrong.startswith(words)


def test_files_of_another_version_are_named() -> None:
    """The offsets' number, and two different checksums of the ratings."""
    metadata, offsets = matching()
    wrong = totals(PARTS, ROWS, {**metadata, "data_md5": "d" * 32}, offsets, 5)
    assert [line.split()[0] for line in wrong] == ["data_md5", "offsets.json"]


def test_watches_of_earlier_software_have_no_list() -> None:
    """Their parts are CSV files, and the metadata have the md5 of the whole table."""
    metadata, offsets = matching()
    earlier = {number: Part(Path(f"clean_watch_{number}.csv"), "e" * 32, 70) for number in (1, 2)}
    metadata["data"]["clean_watch.csv"] = {**metadata["data"].pop("clean_watch"), "md5": "f" * 32}
    assert totals({**PARTS, "clean_watch": earlier}, ROWS, metadata, offsets, 2) == []


def test_all_parts_make_the_table_of_the_training(tmp_path: Path) -> None:
    """One header, all rows in order; an empty part adds nothing. Parquet parts make no table."""
    rows = [f"{user},film,4,2026-01-01T00:00:00\n" for user in range(10)]
    parts = {}
    for at, cut in enumerate((rows[:4], [], rows[4:]), 1):
        path = tmp_path / f"{at}.csv"
        path.write_text(HEADER + "".join(cut))
        parts[at] = Part(path, "", path.stat().st_size)
    whole = (HEADER + "".join(rows)).encode()
    metadata = {"data": {"clean_rating.csv": {"md5": md5(whole)}}}
    assert joined("clean_rating", parts, metadata) == []
    assert joined("clean_rating", {1: parts[1]}, metadata)[0].endswith(f"but the model was trained on {md5(whole)}")
    assert joined("clean_watch", PARTS["clean_watch"], {}) == []
    assert joined_size(parts, HEADER.strip()) == len(whole)


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
    assert numbers(3, {"clean_rating": dict.fromkeys(found, PARTS["clean_rating"][1])}) == wrong


def test_a_part_never_changes() -> None:
    """A part of the version before with another md5 is named. A CSV part that gave way to a Parquet part is none."""
    assert changed(PARTS, NAMED | {"clean_watch_1.csv": "0" * 32}) == []
    (wrong,) = changed(PARTS, NAMED | {"clean_rating_1.csv": "0" * 32})
    assert wrong == "clean_rating_1.csv: git names another md5 than the version before"


@pytest.mark.parametrize(
    ("read", "first"),
    [
        (NAMED, 2),  # the newest part is read always
        ({name: md5 for name, md5 in NAMED.items() if "_2." not in name}, 2),
        (NAMED | {"clean_watch_1.parquet": "0" * 32}, 1),
        ({}, 1),
    ],
)
def test_what_was_read_is_not_read_again(read: Mapping[str, str], first: int) -> None:
    """From the first part on that is not known by name and md5."""
    assert first_unread(PARTS, read, 2) == first


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Three versions with two rows each, and the reports of the first two."""
    made = VersionedCheckout(tmp_path)
    for number in (1, 2, 3):
        made.publish(number, rating_part([(5, "a+1999", 4)]), watch_part([(5, "b+1999", 2)]))
        data = {"clean_rating.csv": {"md5": "", "rows": number}, "clean_watch": {"md5": "", "rows": number}}
        write_json_synced(made.places.report(number), {"data": {"data": data}})
    return Checkout(made.places, load_settings(), 3)


def test_without_an_earlier_check_the_parts_of_the_last_tag_count_as_read(checkout: Checkout) -> None:
    """Unless all is asked for, or the last report has no rows to continue."""
    assert scope_of(checkout) == Scope(3, 3)
    assert [path.name for path in needs(checkout)] == ["clean_rating_3.csv", "clean_watch_3.parquet", "model"]
    assert scope_of(Checkout(checkout.places, checkout.settings, 3, everything=True)) == Scope(1, 1)
    checkout.places.report(2).unlink()
    assert scope_of(checkout) == Scope(1, 1)


def test_parts_that_no_check_here_has_read_are_read(checkout: Checkout) -> None:
    """For example of a version whose own check failed. The record says from which version on parts were read here."""
    names = {part.path.name: part.md5 for table in checkout.parts.values() for number, part in table.items() if number == 1}
    write_json_synced(checkout.places.root / RECORD, CheckedParts(since=1, parts=names).model_dump())
    assert scope_of(checkout) == Scope(2, 1)


def test_parts_are_named_by_the_tag_and_by_the_working_copy(checkout: Checkout) -> None:
    """In the order of versions. A part that was converted counts once, as Parquet."""
    for name in ("clean_watch_1.csv", "clean_watch_10.parquet"):
        pointer = checkout.places.versioning / f"{name}.dvc"
        pointer.write_text(f"outs:\n- md5: {'0' * 32}\n  size: 7\n  hash: md5\n  path: {name}\n")
    assert {part.path.suffix for part in checkout.parts["clean_watch"].values()} == {".parquet"}
    assert list(checkout.parts["clean_watch"]) == [1, 2, 3, 10]
    assert sorted(checkout.parts_as_tagged(1)) == ["clean_rating_1.csv", "clean_watch_1.parquet"]
    assert checkout.parts_as_tagged(7) == {}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("clean_rating_1.csv", f"{HEADER}5,a+1999,9,2026-01-01T00:00:00\n".encode(), "clean_rating_1.csv line 2"),
        ("clean_watch_1.csv", f"{WATCH_HEADER}5,a+1999,0,2026-01-01T00:00:00\n".encode(), "clean_watch_1.csv line 2"),
        ("clean_watch_1.parquet", watch_part([(5, "a+1999", 2)])[:90], "clean_watch_1.parquet: it cannot be read"),
        ("clean_watch_1.parquet", watch_part([(5, "a+1999", 0)]), "clean_watch_1.parquet: not a part of watches"),
    ],
)
def test_an_unsound_part_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """A rating outside the scale, no minutes, a cut file."""
    (tmp_path / name).write_bytes(content)
    with Database(tmp_path / "scratch") as database, pytest.raises(RefusedError, match=words):
        read_part(tmp_path / name, database, (1, 5))


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
        ([(7, "c"), (9, "a")], [(9, "b")], set()),  # watched, and not in the list
        ([(7, "b"), (9, "a")], [(9, "b")], {7}),
        ([(7, "b")], [(7, "a"), (9, "c")], {7, 9}),
        ([(8, "a"), (7, "zzz")], [], set()),  # an unknown user; a film that is not in the catalogue
        ([], [], set()),
    ],
)
def test_a_list_with_a_watched_film_is_found(
    tmp_path: Path, rated: list[tuple[int, str]], watched: list[tuple[int, str]], again: set[int]
) -> None:
    """Rated or watched films, by the rows of the version's own parts. The parts may be empty."""
    ratings, watches = tmp_path / "clean_rating_1.csv", tmp_path / "clean_watch_1.parquet"
    ratings.write_bytes(rating_part([(user, film(name), 4) for user, name in rated]))
    watches.write_bytes(watch_part([(user, film(name), 9) for user, name in watched]))
    found = set[int]()
    with Database(tmp_path / "scratch") as database:
        for path, rows in ((ratings, rated), (watches, watched)):
            count, pairs = read_part(path, database, (1, 5))
            assert count == len(rows)
            found |= served_again(model(), pairs)
    assert found == again
