"""The pair table becomes arrays, slice by slice."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_deployment.common.database import Database
from auto_deployment.training.latest import latest_rows
from auto_deployment.training.pair_table import parquet
from auto_deployment.training.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable
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
    pairs then. Otherwise both are None.
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


def read(
    folder: Path, manifest: Manifest, scratch: Path, latest: int | None = None, step: Callable[[int], None] = lambda _: None
) -> Dataset:
    """The arrays of the pair table in `folder`; with `latest` only that number of films of each user, the latest ones.

    Both are done slice by slice, so that only what is returned is ever held whole. `step` is called with the pairs of a slice.
    """
    columns: dict[str, list[npt.NDArray[Any]]] = defaultdict(list)
    users = 0
    distribution = Counter[str]()
    with Database(scratch) as database:
        catalogue = _Catalogue(database, folder)
        for at, each in enumerate(manifest.slices):
            part = _Slice.read(database, folder, at, catalogue)
            if latest is not None:
                distribution.update(distribution_of(part.ratings))
                seen = part.seen()
                columns["seen_counts"].append(np.diff(seen.starts))
                columns["seen_films"].append(seen.films)
                part = part.cut(latest)
            for name, column in part.columns(users).items():
                columns[name].append(column)
            users += len(part.users)
            step(each.ratings.rows + each.watches.rows)
    joined = {name: _joined(columns.pop(name, []), kind) for name, kind in _TYPES.items()}
    order = np.lexsort((joined.pop("number"), joined["rated_time"]))
    return Dataset(
        joined["users"],
        catalogue.films,
        Ratings(*(joined.pop(f"rated_{name}")[order] for name in ("user", "film", "stars", "time"))),
        Watches(*(joined.pop(f"watched_{name}") for name in ("user", "film", "minutes", "time"))),
        catalogue.look_alikes,
        {"ratings": manifest.rating_rows, "watches": manifest.watch_rows},
        joined["versions"],
        None if latest is None else Seen(np.append(0, joined["seen_counts"]).cumsum(), joined["seen_films"]),
        None if latest is None else dict(sorted(distribution.items(), key=lambda each: float(each[0]))),
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
    "seen_counts": np.int64,
    "seen_films": np.int32,
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


def _joined(arrays: list[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=kind), *arrays]).astype(kind, copy=False)
