from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import pytest

from app.model import md5_of
from auto_deployment.common.errors import RefusedError, RunError
from auto_deployment.ingestion.tables import RATING_HEADER
from auto_deployment.pipeline.history_source import hashed_ratings
from auto_deployment.training.pair_table import Source

if TYPE_CHECKING:
    from pathlib import Path

# Its bytes take half a minute to hash, and no disk.
LARGE = 20 * 10**9


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """A table of ratings."""
    path = tmp_path / "clean_rating.csv"
    path.write_text(f"{RATING_HEADER}\n1,gold+,4,2026-01-05T08:00:00\n2,gold+,5,2026-01-06T08:00:00\n")
    return path


def source(ratings: Path, size: int, recorded: tuple[int, str] | None = None) -> Source:
    """A version with the first `size` bytes of the ratings."""
    return Source(2, ratings, size, lambda _: {}, {}, recorded)


def recorded(ratings: Path) -> tuple[int, str]:
    """What the report of a version with all of these ratings has."""
    return ratings.stat().st_size, md5_of(ratings)


def test_the_ratings_of_a_version_are_hashed_without_later_rows(ratings: Path) -> None:
    """With those of the last version, and where no version was before."""
    before = recorded(ratings)
    with ratings.open("a") as file:
        file.write("3,gold+,1,2026-01-07T08:00:00\n")
    whole = recorded(ratings)
    with ratings.open("a") as file:
        file.write("4,gold+,1,2026-01-08T08:00:00\n")
    for known in (None, before, whole):
        with hashed_ratings(source(ratings, whole[0], known)) as md5:
            assert md5.result() == whole[1]


@pytest.mark.parametrize(("old", "new"), [(b",4,", b",5,"), (b"1,gold+,4,2026-01-05T08:00:00\n", b"")])
def test_ratings_of_the_last_version_must_still_be_there(ratings: Path, old: bytes, new: bytes) -> None:
    """A byte that changed, or a row that went. Training reads none of these rows again."""
    known = recorded(ratings)
    ratings.write_bytes(ratings.read_bytes().replace(old, new) + b"3,gold+,1,2026-01-07T08:00:00\n")
    with (
        hashed_ratings(source(ratings, ratings.stat().st_size, known)) as md5,
        pytest.raises(RefusedError, match=rf"its first {known[0]} bytes are not those of the last version: restore it with"),
    ):
        md5.result()


def test_a_table_that_cannot_be_read_is_named(ratings: Path) -> None:
    """With what to do."""
    ratings.unlink()
    with (
        hashed_ratings(source(ratings, 100)) as md5,
        pytest.raises(RunError, match=r"clean_rating.csv: it cannot be read \(No such file or directory\): restore it with"),
    ):
        md5.result()


def test_a_run_that_ends_early_does_not_wait_for_the_hash(ratings: Path) -> None:
    """The gate may refuse before a large table has been read."""
    with ratings.open("r+b") as file:
        file.truncate(LARGE)
    with hashed_ratings(source(ratings, LARGE)) as md5:
        pass
    with pytest.raises(CancelledError):
        md5.result()
