from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import duckdb
import pytest

from auto_deployment.provenance.history import HistoryFilm, history
from auto_deployment.provenance.version_files import GoneError, VersionFiles
from tests.unit.auto_deployment.versioned import VersionedCheckout, rating_part, watch_part

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A, B, C = (f"film+{letter}+1999" for letter in "abc")


@pytest.fixture
def checkout(tmp_path: Path) -> VersionedCheckout:
    """Three versions: user 5 watched film a in the first two, c in the third, and rated b in each. No part is here."""
    made = VersionedCheckout(tmp_path)
    for number, films in enumerate(([A], [A], [C]), 1):
        made.publish(
            number,
            rating_part([(5, B, number), (50, A, 4)]),
            watch_part([(5, film, 10 * number) for film in films] + [(50, B, 1)]),
        )
    return made


def seen(checkout: VersionedCheckout, number: int) -> list[HistoryFilm]:
    """The history of user 5."""
    files = VersionFiles(checkout.places, "local", checkout.root / ".cache" / "versions")
    return history(files, number, 5, {})


def rated(stars: float) -> HistoryFilm:
    """Film b with its latest rating."""
    return HistoryFilm(B, stars, f"2026-01-0{stars:g}T08:00:00", 0)


def test_minutes_of_a_viewing_that_spans_versions_add_up(checkout: VersionedCheckout) -> None:
    """A history ends where the data of its version did, with the rows from the DVC remote, then from the cache alone."""
    expected = {
        1: [rated(1), HistoryFilm(A, None, None, 10)],
        2: [rated(2), HistoryFilm(A, None, None, 30)],
        3: [rated(3), HistoryFilm(A, None, None, 30), HistoryFilm(C, None, None, 30)],
    }
    assert seen(checkout, 3) == expected[3]
    shutil.rmtree(checkout.remote)
    assert {number: seen(checkout, number) for number in (1, 2, 3)} == expected


def test_a_part_here_is_not_fetched(checkout: VersionedCheckout) -> None:
    """A damaged one is, because its md5 is not git's."""
    shutil.rmtree(checkout.remote)
    checkout.restore(1)
    assert seen(checkout, 1) == [rated(1), HistoryFilm(A, None, None, 10)]
    (checkout.places.versioning / "clean_watch_1.parquet").write_bytes(b"cut")
    with pytest.raises(GoneError, match=r"DVC cannot give the parts of clean_watch_1\.parquet: .*"):
        seen(checkout, 1)


def test_a_part_of_earlier_software_is_read_as_it_was_or_as_it_was_converted(tmp_path: Path) -> None:
    """CSV rows of several blocks add up. A version from before the conversion takes the Parquet part of the branch."""
    checkout = VersionedCheckout(tmp_path)
    earlier = f"user_id,movie_id,minutes,watched_at\n5,{A},6,2026-01-05T08:00:00\n5,{A},4,2026-01-05T09:00:00\n".encode()
    checkout.publish(1, rating_part([]), earlier, "clean_watch_1.csv")
    checkout.restore(1)
    assert seen(checkout, 1) == [HistoryFilm(A, None, None, 10)]
    checkout.replace("clean_watch_1.csv", "clean_watch_1.parquet", watch_part([(5, A, 10), (5, B, 1)]))
    checkout.object_of(earlier).unlink()
    assert seen(checkout, 1) == [HistoryFilm(A, None, None, 10), HistoryFilm(B, None, None, 1)]


def another_schema(folder: Path) -> bytes:
    """A part without minutes."""
    duckdb.sql(f"COPY (SELECT 5 AS user_id, 'a+1999' AS movie_id, now() AS first_at) TO '{folder / 'odd'}' (FORMAT parquet)")
    return (folder / "odd").read_bytes()


def empty_field(folder: Path) -> bytes:
    """A part whose minutes are NULL."""
    times = "TIMESTAMP '2026-01-05 08:00:00' AS first_at, TIMESTAMP '2026-01-05 08:00:00' AS last_at"
    query = f"SELECT 5 AS user_id, 'a+1999' AS movie_id, NULL::INTEGER AS minutes, {times}"
    duckdb.sql(f"COPY ({query}) TO '{folder / 'odd'}' (FORMAT parquet)")
    return (folder / "odd").read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda _: watch_part([(5, A, 1)])[:100], "the parts of the watches cannot be read .*clean_watch_1.*: restore them"),
        (another_schema, "the parts of the watches cannot be read .*minutes"),
        (empty_field, "a part of the watches has a row of user 5 with empty fields: restore it"),
    ],
)
def test_a_part_that_is_no_part_is_one_line(tmp_path: Path, content: Callable[[Path], bytes], words: str) -> None:
    """Although its md5 is git's."""
    checkout = VersionedCheckout(tmp_path)
    checkout.publish(1, rating_part([]), content(tmp_path))
    checkout.restore(1)
    with pytest.raises(GoneError, match=words) as error:
        seen(checkout, 1)
    assert "\n" not in str(error.value)


def test_a_damaged_file_of_the_remote_is_named(checkout: VersionedCheckout) -> None:
    """DVC itself does not compare what it fetches. Nothing of it is kept."""
    checkout.object_of(checkout.parts["clean_watch_2.parquet"]).write_bytes(b"damaged")
    with pytest.raises(GoneError, match=r"DVC's clean_watch_2\.parquet has md5 \w+, but git names \w+: the file in the DVC"):
        seen(checkout, 3)
    assert list((checkout.root / ".cache").rglob("*.parquet")) == []


def test_a_part_that_git_does_not_name_is_reported(checkout: VersionedCheckout) -> None:
    """For example a version whose pointer was removed from its commit."""
    checkout.publish(5, rating_part([]), watch_part([]))
    with pytest.raises(GoneError, match="neither model-5 nor HEAD names the part 4 of clean_watch: git fetch --tags"):
        seen(checkout, 5)
