from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.model import md5_of
from auto_deployment.common.database import Database
from auto_deployment.common.errors import RefusedError
from auto_deployment.ingestion.tables import RATING_HEADER, WATCH_HEADER
from auto_deployment.ingestion.watch_parts import roll
from auto_deployment.training import pair_table
from auto_deployment.training.dataset import Dataset, read
from auto_deployment.training.pair_table import Manifest, PairTables, Source, checksum, pairs_relation
from auto_deployment.versioning.pointers import version_of
from tests.unit.auto_deployment.samples import SCALE

if TYPE_CHECKING:
    from pathlib import Path

FILMS = [f"film{number}+" for number in range(30)]


class History:
    """Versions of a small stream: the table of ratings, and a part of watches for each version."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.folder, self.draw = folder, random.Random(seed)
        self.ratings = folder / "clean_rating.csv"
        self.ratings.write_text(f"{RATING_HEADER}\n")
        self.ends: dict[int, int] = {0: 0}
        self.parts: dict[str, str] = {}
        self.tables = PairTables(folder / "pairs")

    def add(self, version: int, ratings: int = 80, watches: int = 120, films: list[str] = FILMS) -> None:
        """The rows of a version, at random among 40 users, also for pairs of earlier versions."""
        at = f"2026-01-{version + 1:02}T08:%02d:%02d"
        times = [at % divmod(self.draw.randrange(3_600), 60) for _ in range(ratings + watches)]
        pairs = [f"{self.draw.randrange(40)},{self.draw.choice(films)}" for _ in times]
        with self.ratings.open("a") as file:
            file.writelines(f"{pairs[n]},{1 + self.draw.randrange(5)},{times[n]}\n" for n in range(ratings))
        rows = [f"{pairs[n]},{1 + n % 9},{times[n]},{times[n]}" for n in range(ratings, len(pairs))]
        self.watch(version, rows)
        self.ends[version] = self.ratings.stat().st_size

    def watch(self, version: int, rows: list[str]) -> None:
        """The part of a version with these rows."""
        (self.folder / "rows.csv").write_text("\n".join([WATCH_HEADER, *rows, ""]))
        roll(self.folder / "rows.csv", self.part(version), self.folder / "scratch")
        self.parts[self.part(version).name] = md5_of(self.part(version))
        self.ends.setdefault(version, self.ratings.stat().st_size)

    def part(self, version: int) -> Path:
        """The file of a version's watches."""
        return self.folder / f"clean_watch_{version}.parquet"

    def source(self, version: int) -> Source:
        """What the table of a version is made from."""
        parts = {name: md5 for name, md5 in self.parts.items() if version_of(name) <= version}
        return Source(
            version,
            self.ratings,
            self.ends[version],
            lambda after: {each: self.part(each) for each in range(max(after, 0) + 1, version + 1)},
            parts,
        )

    def update(self, version: int) -> Manifest:
        """Make the table of a version in the folder of all of them."""
        return self.tables.update(self.source(version), SCALE)

    def anew(self, version: int) -> PairTables:
        """The table of a version made from all parts at once."""
        tables = PairTables(self.folder / f"anew-{version}-{self.draw.random()}")
        tables.update(self.source(version), SCALE)
        return tables

    def checksum(self, tables: PairTables, version: int) -> tuple[str, str]:
        """The checksum over the rows of a table."""
        manifest = tables.manifest(version)
        assert manifest is not None
        with Database(self.folder / "scratch") as database:
            return checksum(database, tables.folder / str(version), manifest)

    def dataset(self, tables: PairTables, version: int) -> Dataset:
        """The arrays of a table."""
        manifest = tables.manifest(version)
        assert manifest is not None
        return read(tables.folder / str(version), manifest, self.folder / "scratch")


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Four versions."""
    made = History(tmp_path)
    for version in range(1, 5):
        made.add(version)
    return made


def assert_same(ours: Dataset, theirs: Dataset) -> None:
    """Both have the same arrays."""
    assert (ours.films, ours.look_alikes, ours.rows) == (theirs.films, theirs.look_alikes, theirs.rows)
    for one, other in ((ours, theirs), (ours.ratings, theirs.ratings), (ours.watches, theirs.watches)):
        for name, column in vars(one).items():
            if isinstance(column, np.ndarray):
                assert np.array_equal(column, getattr(other, name)), name


@pytest.mark.parametrize("slice_pairs", [4_000_000, 50])
def test_merged_version_by_version_it_is_the_table_of_all_parts(
    history: History, monkeypatch: pytest.MonkeyPatch, slice_pairs: int
) -> None:
    """Row by row, in one slice or in many that grow and are halved, and training reads the same arrays."""
    monkeypatch.setattr(pair_table, "SLICE_PAIRS", slice_pairs)
    slices = [len(history.update(version).slices) for version in range(1, 5)]
    assert (slices == [1] * 4) == (slice_pairs > 50)
    whole = history.anew(4)
    assert history.checksum(history.tables, 4) == history.checksum(whole, 4)
    assert_same(history.dataset(history.tables, 4), history.dataset(whole, 4))


def test_it_equals_what_the_rows_say(history: History) -> None:
    """The latest rating of a pair, of equal times the later row; all minutes of a pair, and its first version."""
    for version in range(1, 5):
        history.update(version)
    data = history.dataset(history.tables, 4)
    latest: dict[tuple[int, str], tuple[str, float]] = {}
    for line in history.ratings.read_text().splitlines()[1:]:
        user, film, stars, time = line.split(",")
        known = latest.get((int(user), film))
        if known is None or time >= known[0]:
            latest[int(user), film] = time, float(stars)
    rated = zip(data.users[data.ratings.user], data.ratings.film, data.ratings.stars, strict=True)
    assert {(int(user), data.films[film]): float(stars) for user, film, stars in rated} == {
        pair: stars for pair, (_, stars) in latest.items()
    }
    minutes: dict[tuple[int, str], list[int]] = {}
    with Database(history.folder / "scratch") as database:
        for version in range(1, 5):
            for user, film, count in database.rows(f"SELECT user_id, movie_id, minutes FROM '{history.part(version)}'"):
                minutes.setdefault((user, film), [0, version])[0] += count
    watched = zip(data.users[data.watches.user], data.watches.film, data.watches.minutes, data.first_versions, strict=True)
    assert {(int(user), data.films[film]): [int(count), int(first)] for user, film, count, first in watched} == minutes


def test_a_known_pair_costs_no_row(history: History) -> None:
    """The table grows with the pairs, not with the versions."""
    known = history.update(4)
    history.watch(5, [f"{user},{film},1,2026-01-09T08:00:00,2026-01-09T08:00:00" for user in range(40) for film in FILMS])
    all_pairs = history.update(5)
    history.watch(6, [f"{user},{film},1,2026-01-10T08:00:00,2026-01-10T08:00:00" for user in range(40) for film in FILMS])
    assert known.pairs < all_pairs.pairs == history.update(6).pairs


@pytest.mark.parametrize("damage", ["cut", "missing", "manifest", "other parts"])
def test_a_table_that_disagrees_is_made_again(history: History, damage: str) -> None:
    """A file that is cut or missing, a manifest that cannot be read, or other parts than the checkout names."""
    history.update(3)
    path = history.tables.folder / "3" / "watches_0.parquet"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "missing":
        path.unlink()
    elif damage == "manifest":
        (path.parent / "manifest.json").write_text("{")
    else:
        history.watch(2, ["1,film1+,7,2026-01-03T08:00:00,2026-01-03T08:00:00"])
    history.update(4)
    assert history.checksum(history.tables, 4) == history.checksum(history.anew(4), 4)


def test_a_table_that_is_there_is_not_made_again(history: History) -> None:
    """A run that was killed after it continues with it, and the tables of other versions go once it is committed."""
    for version in (3, 4):
        history.update(version)
    made = (history.tables.folder / "4" / "films.parquet").stat().st_mtime_ns
    history.update(4)
    assert (history.tables.folder / "4" / "films.parquet").stat().st_mtime_ns == made
    history.tables.drop_but(4)
    assert [path.name for path in sorted(history.tables.folder.iterdir()) if path.name.isdigit()] == ["4"]
    history.tables.drop(4)
    assert history.tables.manifest(4) is None


def test_a_wrong_rating_is_named_by_its_line_in_the_table(history: History) -> None:
    """Also where only the new rows are read."""
    history.update(3)
    lines = history.ratings.read_text().splitlines(keepends=True)
    with history.ratings.open("a") as file:
        file.write("1,film1+,9,2026-01-09T08:00:00\n")
    history.ends[4] = history.ratings.stat().st_size
    with pytest.raises(RefusedError, match=rf"clean_rating.csv line {len(lines) + 1}: rating 9.0 is not between 1 and 5"):
        history.update(4)


def test_damage_is_found_when_its_film_has_grown(tmp_path: Path) -> None:
    """A rare id is judged again while it is rare, and an id that was damage is a film once it has its own lines."""
    history = History(tmp_path)
    time = "2026-01-05T08:00:00"

    def watched(version: int, **minutes: int) -> tuple[str, ...]:
        history.watch(version, [f"1,{film}+,{count},{time},{time}" for film, count in minutes.items()])
        return tuple(history.dataset(history.tables, history.update(version).version).look_alikes)

    assert watched(1, gold=10, goldx=1, golds=1) == ()
    assert watched(2, gold=10) == ("golds+", "goldx+")
    assert watched(3, goldx=2, silver=1) == ("golds+",)
    assert history.dataset(history.anew(3), 3).look_alikes == ("golds+",)


def test_all_known_pairs_can_be_queried(history: History) -> None:
    """Rated or watched, for readers that need no more."""
    manifest = history.update(4)
    with Database(history.folder / "scratch") as database:
        found = set(database.rows(f"SELECT user_id, movie_id FROM {pairs_relation(history.tables.folder / '4', manifest)}"))
    data = history.dataset(history.tables, 4)
    expected = {
        (int(data.users[user]), data.films[film])
        for rows in (data.ratings, data.watches)
        for user, film in zip(rows.user.tolist(), rows.film.tolist(), strict=True)
    }
    assert found == expected


def test_the_table_of_earlier_software_is_continued(history: History) -> None:
    """Its manifest has the MD5 of the ratings, too. All parts of a year would take 20 minutes to read again."""
    made = history.update(3)
    path = history.tables.folder / "3" / "manifest.json"
    path.write_text(json.dumps({**made.model_dump(), "rating_md5": "0" * 32}))
    assert history.tables.base(history.source(4)) == made


def test_many_new_rows_are_divided_into_slices_at_once(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice is bounded, also where a version brings far more rows than all before it."""
    assert len(history.update(1).slices) == 1
    monkeypatch.setattr(pair_table, "SLICE_PAIRS", 100)
    manifest = history.update(4)
    assert len(manifest.slices) > 3
    assert history.checksum(history.tables, 4) == history.checksum(history.anew(4), 4)


def test_what_a_killed_run_left_is_removed(history: History) -> None:
    """Spilled queries could fill the disk of every later run."""
    for leftover in (".scratch/query-7-x", ".4.new"):
        (history.tables.folder / leftover).mkdir(parents=True)
    history.tables.recover()
    assert not list(history.tables.folder.glob(".*"))
