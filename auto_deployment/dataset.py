"""The tables become arrays: read whole, checked whole, or refused with the number of the first line that is wrong."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from auto_deployment.collect import RATING_HEADER, WATCH_HEADER, Tables
from auto_deployment.errors import RefusedError
from auto_deployment.events import FILM

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3,9})?"
_NUMBER = r"\d+(?:\.\d+)?"
_ROWS = {
    RATING_HEADER: re.compile(rf"\d{{1,19}},{FILM},{_NUMBER},{_TIME}", re.ASCII),
    WATCH_HEADER: re.compile(rf"\d{{1,19}},{FILM},\d{{1,9}},{_TIME}", re.ASCII),
}
# A look-alike is told from a film by its support: a line or two against twenty times as many.
LOOK_ALIKE_MOST = 2
LOOK_ALIKE_RATIO = 20


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
    """One row a pair: how many minutes of `film` `user` watched in all."""

    user: npt.NDArray[np.int32]
    film: npt.NDArray[np.int32]
    minutes: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Dataset:
    """What the tables hold. Users and films are sorted; `look_alikes` are damaged ids that the catalogue leaves out."""

    users: npt.NDArray[np.int64]
    films: tuple[str, ...]
    ratings: Ratings
    watches: Watches
    look_alikes: tuple[str, ...]
    rows: dict[str, int]


def read(tables: Tables, scale: tuple[float, float]) -> Dataset:
    """The tables as arrays. Raises RefusedError naming file, line and fault."""
    ratings = read_table(tables.ratings, RATING_HEADER, _rating_schema(scale))
    watches = read_table(tables.watches, WATCH_HEADER, _watch_schema())
    return build(ratings, watches)


def build(ratings: pd.DataFrame, watches: pd.DataFrame) -> Dataset:
    """The arrays of two tables with the columns of contracts: pairs combined, look-alikes left out."""
    lines: Counter[str] = Counter(ratings["movie_id"].tolist())
    for film, minutes in zip(watches["movie_id"].tolist(), watches["minutes"].tolist(), strict=True):
        lines[film] += minutes
    look_alikes = find_look_alikes(lines)
    rated, watched = (_without(table, look_alikes) for table in (ratings, watches))
    users = np.unique(np.concatenate([rated["user_id"].to_numpy(np.int64), watched["user_id"].to_numpy(np.int64)]))
    films = tuple(sorted(set(lines) - look_alikes))
    return Dataset(
        users,
        films,
        _ratings(rated, users, films),
        _watches(watched, users, films),
        tuple(sorted(look_alikes)),
        {"ratings": len(ratings), "watches": len(watches)},
    )


def find_look_alikes(lines: Counter[str]) -> set[str]:
    """The ids that only damage explains: seen once or twice, and one letter or digit more than an id seen far more often."""
    found = set()
    for film, count in lines.items():
        if count > LOOK_ALIKE_MOST:
            continue
        shorter = {film[:at] + film[at + 1 :] for at in range(len(film)) if film[at].isalnum()}
        if any(lines[other] >= LOOK_ALIKE_RATIO * count for other in shorter if other in lines):
            found.add(film)
    return found


def read_table(path: Path, header: str, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """One table, whole and checked. Raises RefusedError naming the first line that is wrong."""
    types = {
        "user_id": "int64",
        "movie_id": "str",
        "rating": "float32",
        "minutes": "int32",
        "rated_at": "str",
        "watched_at": "str",
    }
    columns = header.split(",")
    try:
        table = pd.read_csv(
            path,
            dtype={name: types[name] for name in columns},
            quoting=csv.QUOTE_NONE,
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="ascii",
            index_col=False,
        )
        if list(table.columns) != columns:
            raise RefusedError(f"{path} line 1: the header is not {header}")
        return schema.validate(table)
    except FileNotFoundError as error:
        raise RefusedError(f"{path}: there is no such table: collect lines of the stream first") from error
    except pa.errors.SchemaError as error:
        raise RefusedError(first_bad_line(path, header) or _schema_fault(path, error)) from error
    except ValueError as error:
        raise RefusedError(first_bad_line(path, header) or f"{path}: {error}") from error


def first_bad_line(path: Path, header: str) -> str | None:
    """The first line whose shape is not the table's, as a person reads it."""
    row = _ROWS[header]
    with path.open(encoding="ascii", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, 1):
            text = line.removesuffix("\n")
            if (text != header) if number == 1 else (row.fullmatch(text) is None):
                return (
                    f"{path} line {number}: not a row of {header}: {text[:120]!r}; "
                    f"nothing was read: mend or remove that line, or restore the file"
                )
    return None


def _schema_fault(path: Path, error: pa.errors.SchemaError) -> str:
    cases = error.failure_cases
    if isinstance(cases, pd.DataFrame) and len(cases):
        case = cases.iloc[0]
        return f"{path} line {int(case['index']) + 2}: {case['failure_case']!r} fails {error.check}"
    return f"{path}: {str(error).splitlines()[0]}"


def _rating_schema(scale: tuple[float, float]) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(
        {**_pair_columns(), "rating": pa.Column("float32", pa.Check.in_range(*scale)), "rated_at": _time_column()},
        strict=True,
        ordered=True,
    )


def _watch_schema() -> pa.DataFrameSchema:
    return pa.DataFrameSchema(
        {**_pair_columns(), "minutes": pa.Column("int32", pa.Check.ge(1)), "watched_at": _time_column()},
        strict=True,
        ordered=True,
    )


def _pair_columns() -> dict[str, pa.Column]:
    return {"user_id": pa.Column("int64", pa.Check.ge(0)), "movie_id": pa.Column("str", _matches(FILM))}


def _time_column() -> pa.Column:
    return pa.Column("str", _matches(_TIME))


def _matches(pattern: str) -> pa.Check:
    """A check of distinct values only: a table has far fewer films and seconds than rows."""
    whole = re.compile(pattern, re.ASCII)

    def check(values: pd.Series[str]) -> pd.Series[bool]:
        distinct = values.unique()
        good = [value for value in distinct if isinstance(value, str) and whole.fullmatch(value)]
        return pd.Series([True] * len(values), index=values.index) if len(good) == len(distinct) else values.isin(good)

    return pa.Check(check, name=f"the form {pattern}")


def _without(table: pd.DataFrame, films: set[str]) -> pd.DataFrame:
    return table[~table["movie_id"].isin(films)] if films else table


def _rows_of(table: pd.DataFrame, users: npt.NDArray[np.int64], films: tuple[str, ...]) -> pd.DataFrame:
    user = np.searchsorted(users, table["user_id"].to_numpy(np.int64)).astype(np.int32)
    film = pd.Index(films).get_indexer(pd.Index(table["movie_id"])).astype(np.int32)
    return pd.DataFrame({"user": user, "film": film})


def _ratings(table: pd.DataFrame, users: npt.NDArray[np.int64], films: tuple[str, ...]) -> Ratings:
    rows = _rows_of(table, users, films)
    rows["stars"] = table["rating"].to_numpy(np.float32)
    # In microseconds: a column of times may carry fractions of a second.
    rows["time"] = pd.to_datetime(table["rated_at"], format="ISO8601").to_numpy("datetime64[us]").astype(np.int64)
    # Of equal times the later row counts, hence the stable sort.
    rows = rows.sort_values("time", kind="stable").drop_duplicates(["user", "film"], keep="last")
    return Ratings(*(rows[name].to_numpy() for name in ("user", "film", "stars", "time")))


def _watches(table: pd.DataFrame, users: npt.NDArray[np.int64], films: tuple[str, ...]) -> Watches:
    rows = _rows_of(table, users, films)
    rows["minutes"] = table["minutes"].to_numpy(np.int32)
    total = rows.groupby(["user", "film"], sort=True, as_index=False)["minutes"].sum()
    return Watches(*(total[name].to_numpy(np.int32) for name in ("user", "film", "minutes")))
