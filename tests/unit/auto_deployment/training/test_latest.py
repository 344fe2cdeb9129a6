from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from auto_deployment.ingestion.tables import RATING_HEADER, WATCH_HEADER, Tables
from auto_deployment.training import dataset, pair_table
from auto_deployment.training.dataset import read
from auto_deployment.training.latest import _first_of_each
from auto_deployment.training.pair_table import PairTables, source_of_tables

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.training.dataset import Dataset
    from auto_deployment.training.pair_table import Manifest

USERS, FILMS = 20, 15
BEGIN = datetime(2026, 1, 1)  # noqa: DTZ001 - the stream's times have no zone


class Table(NamedTuple):
    """A pair table of random ratings and watches."""

    folder: Path
    manifest: Manifest

    def read(self, latest: int | None = None) -> Dataset:
        """What training reads of it."""
        return read(self.folder / "pairs" / "0", self.manifest, self.folder / "scratch", latest)


@pytest.fixture(params=[7, 10_000])
def table(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """In several slices, with overlapping pairs, at few or many different times."""
    draw, tables = random.Random(request.param), Tables(tmp_path)

    def rows(count: int, value: str) -> list[str]:
        pairs = draw.sample([(user, film) for user in range(USERS) for film in range(FILMS)], count)
        return [f"{user},{3 * chr(97 + film)}+1999,{value},{time(draw.randrange(request.param))}" for user, film in pairs]

    def time(seconds: int) -> str:
        return (BEGIN + timedelta(seconds=seconds)).isoformat()

    tables.ratings.write_text("\n".join([RATING_HEADER, *rows(120, "4"), ""]))
    tables.watches.write_text("\n".join([WATCH_HEADER, *rows(150, f"3,{time(0)}"), ""]))
    monkeypatch.setattr(pair_table, "SLICE_PAIRS", 60)
    manifest = PairTables(tmp_path / "pairs").update(
        source_of_tables(tables, tmp_path / "clean_watch_0.parquet", tmp_path / "scratch"), (1.0, 5.0)
    )
    assert len(manifest.slices) > 2
    return Table(tmp_path, manifest)


def pairs(data: Dataset) -> dict[tuple[int, int], int]:
    """The latest time of each pair."""
    found: dict[tuple[int, int], int] = {}
    for rows in (data.ratings, data.watches):
        for user, film, time in zip(rows.user.tolist(), rows.film.tolist(), rows.time.tolist(), strict=True):
            found[user, film] = max(time, found.get((user, film), time))
    return found


def test_each_user_keeps_the_latest_films_with_ratings_and_watches(table: Table) -> None:
    """Of equal times the first film. What is kept stays in its order, with its first version."""
    whole, cut = table.read(), table.read(4)
    latest = pairs(whole)
    wanted = {
        (user, film)
        for user in range(USERS)
        for film in sorted({film for owner, film in latest if owner == user}, key=lambda film: (-latest[user, film], film))[:4]
    }
    for old, new in ((whole.ratings, cut.ratings), (whole.watches, cut.watches)):
        kept = [pair in wanted for pair in zip(old.user.tolist(), old.film.tolist(), strict=True)]
        for name, column in vars(new).items():
            assert np.array_equal(column, vars(old)[name][kept]), name
        assert 0 < len(new) < len(old)
    assert len(cut.first_versions) == len(cut.watches)


def test_all_that_users_have_seen_and_all_ratings_are_still_counted(table: Table) -> None:
    """With users and films of the whole table."""
    whole, cut = table.read(), table.read(2)
    assert cut.seen is not None
    seen = {(user, film) for user in range(USERS) for film in cut.seen.pairs(user, user + 1)[1].tolist()}
    assert seen == set(pairs(whole))
    assert cut.distribution == {"4": 120}
    assert (cut.users.tolist(), cut.films, cut.rows) == (whole.users.tolist(), whole.films, whole.rows)
    assert (whole.seen, whole.distribution) == (None, None)


def test_nothing_is_cut_where_users_have_no_more_films(table: Table) -> None:
    """The rows are the same."""
    whole, cut = table.read(), table.read(FILMS)
    for old, new in ((whole.ratings, cut.ratings), (whole.watches, cut.watches)):
        assert all(np.array_equal(column, vars(old)[name]) for name, column in vars(new).items())


@pytest.mark.parametrize("unit", [1, 2**58])
def test_the_lowest_keys_of_each_user_are_found_near_and_far_apart(unit: int) -> None:
    """Of equal keys the first row."""
    users, keys = np.array([3, 3, 3, 8, 12, 12, 12, 12]), np.array([5, 1, 1, 9, 2, 0, 2, 2])
    assert _first_of_each(users, unit * keys, 2).tolist() == [False, True, True, True, True, True, False, False]
    assert _first_of_each(users, unit * keys, 1).tolist() == [False, True, False, True, False, True, False, False]


def test_a_sample_of_users_has_whole_histories(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third user, across slices, with all rows in their order: the evaluation cuts them by time first."""
    monkeypatch.setattr(dataset, "EVALUATED_ROWS", 1 + table.manifest.pairs // 3)
    whole, sample = table.read(), table.read(2).sample
    assert sample is not None
    chosen = np.arange(0, USERS, 3)
    assert sample.users.tolist() == whole.users[chosen].tolist()
    for old, new in ((whole.ratings, sample.ratings), (whole.watches, sample.watches)):
        kept = np.isin(old.user, chosen)
        assert np.array_equal(chosen[new.user], old.user[kept])
        assert all(np.array_equal(vars(new)[name], vars(old)[name][kept]) for name in ("film", "time"))
