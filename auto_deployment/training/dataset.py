"""The pair table becomes arrays, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_deployment.common.database import Database
from auto_deployment.training.pair_table import parquet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from auto_deployment.training.pair_table import Manifest
    from auto_deployment.training.seen import Seen


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
    Where ratings and watches have only the latest films of each user, `seen` has all of them, and `distribution` is of all
    rated pairs; else both are None.
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


def read(folder: Path, manifest: Manifest, scratch: Path, step: Callable[[int], None] = lambda _: None) -> Dataset:
    """The arrays of the pair table in `folder`. `step` is called with the number of pairs read, slice by slice."""
    with Database(scratch) as database:
        catalogue = _Catalogue(database, folder)
        slices = []
        for at, each in enumerate(manifest.slices):
            slices.append(_Slice.read(database, folder, at, catalogue))
            step(each.ratings.rows + each.watches.rows)
    users = _joined([each.users for each in slices], np.int64)
    _number_users(slices)
    return Dataset(
        users,
        catalogue.films,
        _joined_ratings(slices),
        Watches(*(_joined([each.watches[at] for each in slices], kind) for at, kind in enumerate(_WATCH_TYPES))),
        catalogue.look_alikes,
        {"ratings": manifest.rating_rows, "watches": manifest.watch_rows},
        _joined([each.versions for each in slices], np.int32),
    )


def distribution_of(ratings: Ratings) -> dict[str, int]:
    """The number of pairs by rating."""
    stars, counts = np.unique(ratings.stars, return_counts=True)
    return {f"{value:g}": int(count) for value, count in zip(stars.tolist(), counts.tolist(), strict=True)}


_RATING_TYPES: tuple[type[np.generic], ...] = (np.int32, np.int32, np.float32, np.int64)
_WATCH_TYPES: tuple[type[np.generic], ...] = (np.int32, np.int32, np.int32, np.int64)


class _Catalogue:
    """`films` sorted, without the look-alikes, and for each code of the pair table the row in `films`, -1 for look-alikes."""

    def __init__(self, database: Database, folder: Path) -> None:
        rows = database.arrays(f"SELECT code, movie_id, look_alike FROM {parquet(folder / 'films.parquet')} ORDER BY movie_id")
        names, kept = rows["movie_id"], ~rows["look_alike"].astype(bool)
        self.films = tuple(names[kept].tolist())
        self.look_alikes = tuple(names[~kept].tolist())
        self.row_of = np.full(len(names), -1, dtype=np.int32)
        self.row_of[rows["code"][kept]] = np.arange(len(self.films), dtype=np.int32)


@dataclass
class _Slice:
    """The pairs of a range of users: columns as in `Ratings` and `Watches`, `number` the ratings' rows in their table."""

    users: npt.NDArray[np.int64]
    ratings: list[npt.NDArray[Any]]
    number: npt.NDArray[np.int64]
    watches: list[npt.NDArray[Any]]
    versions: npt.NDArray[np.int32]

    @staticmethod
    def read(database: Database, folder: Path, at: int, catalogue: _Catalogue) -> _Slice:
        """Slice `at` of the pair table, without look-alikes; users are numbered inside the slice."""
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
            [rated[name] for name in ("user", "film", "stars", "time")],
            rated["number"],
            [watched[name][order] for name in ("user", "film", "minutes", "time")],
            watched["version"][order],
        )


def _number_users(slices: list[_Slice]) -> None:
    """Number the users of all slices together."""
    before = 0
    for each in slices:
        each.ratings[0] = each.ratings[0] + np.int32(before)
        each.watches[0] = each.watches[0] + np.int32(before)
        before += len(each.users)


def _joined_ratings(slices: list[_Slice]) -> Ratings:
    """The ratings in the order of time, of equal times in the order of their rows."""
    user, film, stars, time = (_joined([each.ratings[at] for each in slices], kind) for at, kind in enumerate(_RATING_TYPES))
    order = np.lexsort((_joined([each.number for each in slices], np.int64), time))
    return Ratings(user[order], film[order], stars[order], time[order])


def _joined(arrays: list[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=kind), *arrays]).astype(kind, copy=False)
