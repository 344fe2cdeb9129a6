"""The pair table becomes arrays, slice by slice."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_deployment.common.database import Database
from auto_deployment.training.latest import latest_rows
from auto_deployment.training.pair_table import parquet
from auto_deployment.training.seen import Seen
from auto_deployment.training.sizes import EVALUATED_ROWS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from auto_deployment.training.pair_table import Manifest


@dataclass(frozen=True)
class Ratings:
    """One rating a pair, the latest, in the order of time. `user` and `film` are rows of a `Dataset`'s users and films."""

    user: npt.NDArray[np.int32]
    film: npt.NDArray[np.int32]
    stars: npt.NDArray[np.float32]
    time: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, rows: Any) -> Ratings:  # noqa: ANN401 - whatever numpy takes as an index
        return Ratings(self.user[rows], self.film[rows], self.stars[rows], self.time[rows])


@dataclass(frozen=True)
class Watches:
    """One row a pair: how many minutes of `film` `user` watched in all, and when last."""

    user: npt.NDArray[np.int32]
    film: npt.NDArray[np.int32]
    minutes: npt.NDArray[np.int32]
    time: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, rows: Any) -> Watches:  # noqa: ANN401 - whatever numpy takes as an index
        return Watches(self.user[rows], self.film[rows], self.minutes[rows], self.time[rows])


@dataclass(frozen=True)
class Dataset:
    """What users rated and watched. Users and films are sorted; `look_alikes` are damaged ids that the catalogue leaves out.

    `rows` has the rows of each table, `first_versions` for each pair of `watches` the first version whose part has it.
    Where ratings and watches have only the latest films of each user, `seen` has all of them. `distribution` is of all rated
    pairs then, and `sample` has evenly spread users with all their films. Otherwise these are None.
    """

    users: npt.NDArray[np.int64]
    films: tuple[str, ...]
    ratings: Ratings
    watches: Watches
    look_alikes: tuple[str, ...]
    rows: dict[str, int]
    first_versions: npt.NDArray[np.int32]
    seen: Seen | None = None
    distribution: dict[str, int] | None = None
    sample: Dataset | None = None


def read(folder: Path, manifest: Manifest, scratch: Path, latest: int | None = None) -> Dataset:
    """The arrays of the pair table in `folder`; with `latest` only that number of films of each user, the latest ones.

    It reads and cuts slice by slice, so it never holds the whole history. The sample has about `EVALUATED_ROWS` rows.
    """
    columns, sampled = _Columns(), _Columns()
    every = -(-manifest.pairs // EVALUATED_ROWS)
    seen_counts, seen_films = [np.zeros(1, dtype=np.int64)], [np.empty(0, dtype=np.int32)]
    distribution = Counter[str]()
    with Database(scratch) as database:
        catalogue = _Catalogue(database, folder)
        for at in range(len(manifest.slices)):
            part = _Slice.read(database, folder, at, catalogue)
            if latest is not None:
                distribution.update(distribution_of(part.ratings))
                seen = part.seen()
                seen_counts.append(np.diff(seen.starts))
                seen_films.append(seen.films)
                sampled.add(part.every(every, -columns.users % every))
                part = part.cut(latest)
            columns.add(part)
    rows = {"ratings": manifest.rating_rows, "watches": manifest.watch_rows}
    dataset = columns.dataset(catalogue, rows)
    if latest is None:
        return dataset
    return replace(
        dataset,
        seen=Seen(np.concatenate(seen_counts).cumsum(), np.concatenate(seen_films)),
        distribution=dict(sorted(distribution.items(), key=lambda each: float(each[0]))),
        sample=sampled.dataset(catalogue, rows),
    )


def distribution_of(ratings: Ratings) -> dict[str, int]:
    """The number of pairs by rating."""
    stars, counts = np.unique(ratings.stars, return_counts=True)
    return {f"{value:g}": int(count) for value, count in zip(stars.tolist(), counts.tolist(), strict=True)}


_TYPES: dict[str, type[np.generic]] = {
    "users": np.int64,
    "number": np.int64,
    "rated_user": np.int32,
    "rated_film": np.int32,
    "rated_stars": np.float32,
    "rated_time": np.int64,
    "watched_user": np.int32,
    "watched_film": np.int32,
    "watched_minutes": np.int32,
    "watched_time": np.int64,
    "versions": np.int32,
}


class _Catalogue:
    """`films` sorted, without the look-alikes, and for each code of the pair table the row in `films`, -1 for look-alikes."""

    def __init__(self, database: Database, folder: Path) -> None:
        rows = database.arrays(f"SELECT code, movie_id, look_alike FROM {parquet(folder / 'films.parquet')} ORDER BY movie_id")
        names, kept = rows["movie_id"], ~rows["look_alike"].astype(bool)
        self.films = tuple(names[kept].tolist())
        self.look_alikes = tuple(names[~kept].tolist())
        self.row_of = np.full(len(names), -1, dtype=np.int32)
        self.row_of[rows["code"][kept]] = np.arange(len(self.films), dtype=np.int32)


@dataclass(frozen=True)
class _Slice:
    """The pairs of a range of users, who are numbered inside the slice; `number` has the ratings' rows in their table."""

    users: npt.NDArray[np.int64]
    ratings: Ratings
    number: npt.NDArray[np.int64]
    watches: Watches
    versions: npt.NDArray[np.int32]

    @staticmethod
    def read(database: Database, folder: Path, at: int, catalogue: _Catalogue) -> _Slice:
        """Slice `at` of the pair table, without look-alikes."""
        rated = database.arrays(
            f"SELECT user_id, film, stars, epoch_us(rated_at) AS time, number FROM {parquet(folder / f'ratings_{at}.parquet')}"
        )
        watched = database.arrays(
            "SELECT user_id, film, minutes, epoch_us(last_at) AS time, version "
            f"FROM {parquet(folder / f'watches_{at}.parquet')}"
        )
        for table in (rated, watched):
            table["film"] = catalogue.row_of[table["film"]]
            known = table["film"] >= 0
            if not known.all():
                table.update({name: column[known] for name, column in table.items()})
        users = np.unique(np.concatenate([rated["user_id"], watched["user_id"]]).astype(np.int64))
        for table in (rated, watched):
            table["user"] = np.searchsorted(users, table.pop("user_id")).astype(np.int32)
        order = np.lexsort((watched["film"], watched["user"]))
        return _Slice(
            users,
            Ratings(*(rated[name] for name in ("user", "film", "stars", "time"))),
            rated["number"],
            Watches(*(watched[name][order] for name in ("user", "film", "minutes", "time"))),
            watched["version"][order],
        )

    def cut(self, latest: int) -> _Slice:
        """The slice with the `latest` films of each user."""
        rated, watched = latest_rows(self.ratings, self.watches, latest)
        ratings, watches = self.ratings[rated], self.watches[watched]
        return _Slice(self.users, ratings, self.number[rated], watches, self.versions[watched])

    def every(self, step: int, first: int) -> _Slice:
        """The slice with each user that is `step` after the last one, from user `first` on."""
        chosen = np.arange(first, len(self.users), step)
        number = np.full(len(self.users), -1, dtype=np.int32)
        number[chosen] = np.arange(len(chosen), dtype=np.int32)
        rated, watched = number[self.ratings.user] >= 0, number[self.watches.user] >= 0
        ratings, watches = self.ratings[rated], self.watches[watched]
        return _Slice(
            self.users[chosen],
            replace(ratings, user=number[ratings.user]),
            self.number[rated],
            replace(watches, user=number[watches.user]),
            self.versions[watched],
        )

    def seen(self) -> Seen:
        """All films that its users rated or watched."""
        users, films = (np.concatenate([getattr(self.ratings, name), getattr(self.watches, name)]) for name in ("user", "film"))
        return Seen.of(users, films, len(self.users))

    def columns(self, before: int) -> dict[str, npt.NDArray[Any]]:
        """The columns of `_TYPES`; users are numbered from `before` on."""
        rated, watched = ({**vars(rows), "user": rows.user + np.int32(before)} for rows in (self.ratings, self.watches))
        return {
            "users": self.users,
            "number": self.number,
            **{f"rated_{name}": column for name, column in rated.items()},
            **{f"watched_{name}": column for name, column in watched.items()},
            "versions": self.versions,
        }


class _Columns:
    """The columns of slices, which become a data set."""

    def __init__(self) -> None:
        self.users = 0
        self._columns: dict[str, list[npt.NDArray[Any]]] = defaultdict(list)

    def add(self, part: _Slice) -> None:
        """Add a slice after the others."""
        for name, column in part.columns(self.users).items():
            self._columns[name].append(column)
        self.users += len(part.users)

    def dataset(self, catalogue: _Catalogue, rows: dict[str, int]) -> Dataset:
        """The data set of all slices, whose columns are given up."""
        joined = {name: _joined(self._columns.pop(name, []), kind) for name, kind in _TYPES.items()}
        order = np.lexsort((joined.pop("number"), joined["rated_time"]))
        return Dataset(
            joined["users"],
            catalogue.films,
            Ratings(*(joined.pop(f"rated_{name}")[order] for name in ("user", "film", "stars", "time"))),
            Watches(*(joined.pop(f"watched_{name}") for name in ("user", "film", "minutes", "time"))),
            catalogue.look_alikes,
            rows,
            joined["versions"],
        )


def _joined(arrays: list[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=kind), *arrays]).astype(kind, copy=False)
