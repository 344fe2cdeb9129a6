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

from auto_deployment.common.errors import RefusedError
from auto_deployment.ingestion.events import FILM
from auto_deployment.ingestion.tables import RATING_HEADER, WATCH_HEADER

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from auto_deployment.ingestion.tables import Tables
    from auto_deployment.training.seen import Seen

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3,9})?"
# Nanoseconds fit no year beyond 2262, and one such time would change how a whole column is read.
_MICROSECONDS = len("2026-01-01T00:00:00.123456")
_NUMBER = r"\d+(?:\.\d+)?"
_ROWS = {
    RATING_HEADER: re.compile(rf"\d{{1,19}},{FILM},{_NUMBER},{_TIME}", re.ASCII),
    WATCH_HEADER: re.compile(rf"\d{{1,19}},{FILM},\d{{1,9}},{_TIME}", re.ASCII),
}
# Support separates a look-alike from a film: a line or two against twenty times as many. The same damage happens again in a
# long history, but each one to at most 6 of 100,000 lines of its film (365 simulated days): more lines need more support.
LOOK_ALIKE_MOST = 2
LOOK_ALIKE_RATIO = 20
OFTEN_ALIKE_RATIO = 10_000


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
    """What the tables hold. Users and films are sorted; `look_alikes` are damaged ids that the catalogue leaves out.

    `rows` has the rows of each table, `first_rows` for each pair of `watches` the row of its table that has it first, from 0.
    Where ratings and watches have only the latest films of each user, `seen` has all of them; else None.
    """

    users: npt.NDArray[np.int64]
    films: tuple[str, ...]
    ratings: Ratings
    watches: Watches
    look_alikes: tuple[str, ...]
    rows: dict[str, int]
    first_rows: npt.NDArray[np.int64]
    seen: Seen | None = None


def read(tables: Tables, scale: tuple[float, float]) -> Dataset:
    """The tables as arrays. Raises RefusedError naming file, line and fault."""
    ratings = read_table(tables.ratings, RATING_HEADER, _rating_schema(scale))
    watches = read_table(tables.watches, WATCH_HEADER, _watch_schema())
    return build(ratings, watches)


def build(ratings: pd.DataFrame, watches: pd.DataFrame) -> Dataset:
    """The arrays of the two tables `clean_rating` and `clean_watch`: pairs combined, look-alikes left out."""
    lines: Counter[str] = Counter(ratings["movie_id"].tolist())
    for film, minutes in zip(watches["movie_id"].tolist(), watches["minutes"].tolist(), strict=True):
        lines[film] += minutes
    look_alikes = find_look_alikes(lines)
    rated, watched = (_without(table, look_alikes) for table in (ratings, watches))
    users = np.unique(np.concatenate([rated["user_id"].to_numpy(np.int64), watched["user_id"].to_numpy(np.int64)]))
    films = tuple(sorted(set(lines) - look_alikes))
    seen, first_rows = _watches(watched, users, films)
    return Dataset(
        users,
        films,
        _ratings(rated, users, films),
        seen,
        tuple(sorted(look_alikes)),
        {"ratings": len(ratings), "watches": len(watches)},
        first_rows,
    )


def find_look_alikes(lines: Counter[str]) -> set[str]:
    """The ids that only damage explains: one letter or digit more than an id that has far more lines."""
    found, most = set(), max(lines.values(), default=0)
    for film, count in lines.items():
        needed = count * (LOOK_ALIKE_RATIO if count <= LOOK_ALIKE_MOST else OFTEN_ALIKE_RATIO)
        if needed > most:
            continue
        shorter = {film[:at] + film[at + 1 :] for at in range(len(film)) if film[at].isalnum()}
        if any(lines[other] >= needed for other in shorter if other in lines):
            found.add(film)
    return found


def read_table(path: Path, header: str, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """One table, whole and checked. Raises RefusedError naming the first line that is wrong.

    The form of every line is checked first: pandas reads over fields too many in the first row, NUL bytes and `4e0`.
    """
    types = {
        "user_id": "uint64",
        "movie_id": "str",
        "rating": "float32",
        "minutes": "int32",
        "rated_at": "str",
        "watched_at": "str",
    }
    try:
        bad_line = first_bad_line(path, header)
        if bad_line is not None:
            raise RefusedError(bad_line)
        table = pd.read_csv(
            path,
            dtype={name: types[name] for name in header.split(",")},
            quoting=csv.QUOTE_NONE,
            keep_default_na=False,
            encoding="ascii",
        )
        return schema.validate(table)
    except FileNotFoundError as error:
        raise RefusedError(f"{path}: there is no such table: collect lines of the stream first") from error
    except OSError as error:
        raise RefusedError(f"{path}: {error.strerror or error}: restore the table") from error
    except pa.errors.SchemaError as error:
        raise RefusedError(_schema_fault(path, error)) from error


def first_bad_line(path: Path, header: str) -> str | None:
    """The first line whose shape is not the table's, as a person reads it."""
    fits = _ROWS[header].fullmatch
    with path.open(encoding="ascii", errors="replace", newline="\n") as file:
        text = file.readline().removesuffix("\n")
        if text != header:
            return _fault(path, 1, f"the header is not {header}: {text[:120]!r}")
        for number, line in enumerate(file, 2):
            text = line.removesuffix("\n")
            if fits(text) is None:
                return _fault(path, number, f"not a row of {header}: {text[:120]!r}")
    return None


def _schema_fault(path: Path, error: pa.errors.SchemaError) -> str:
    """The first row that breaks a check; each check tells what its values are to be."""
    case = error.failure_cases.iloc[0]
    return _fault(path, int(case["index"]) + 2, f"{error.schema.name} {case['failure_case']} is not {error.check.error}")


def _fault(path: Path, number: int, what: str) -> str:
    return f"{path} line {number}: {what}; nothing was read: mend or remove that line, or restore the file"


def _rating_schema(scale: tuple[float, float]) -> pa.DataFrameSchema:
    stars = pa.Check.in_range(*scale, error=f"between {scale[0]:g} and {scale[1]:g}")
    return pa.DataFrameSchema({**_pair_columns(), "rating": pa.Column("float32", stars), "rated_at": _time_column()})


def _watch_schema() -> pa.DataFrameSchema:
    minutes = pa.Check.ge(1, error="1 or more")
    return pa.DataFrameSchema({**_pair_columns(), "minutes": pa.Column("int32", minutes), "watched_at": _time_column()})


def _pair_columns() -> dict[str, pa.Column]:
    return {"user_id": pa.Column("uint64", pa.Check.lt(2**63, error="below 2^63")), "movie_id": pa.Column("str")}


def _time_column() -> pa.Column:
    return pa.Column("str", pa.Check(_in_the_calendar, error="a time of the calendar"))


def _in_the_calendar(times: pd.Series[str]) -> pd.Series[bool]:
    return pd.to_datetime(times.astype(str).str[:_MICROSECONDS], format="ISO8601", errors="coerce").notna()


def _without(table: pd.DataFrame, films: set[str]) -> pd.DataFrame:
    return table[~table["movie_id"].isin(films)] if films else table


def _rows_of(table: pd.DataFrame, users: npt.NDArray[np.int64], films: tuple[str, ...]) -> pd.DataFrame:
    user = np.searchsorted(users, table["user_id"].to_numpy(np.int64)).astype(np.int32)
    film = pd.Index(films).get_indexer(pd.Index(table["movie_id"])).astype(np.int32)
    return pd.DataFrame({"user": user, "film": film})


def _ratings(table: pd.DataFrame, users: npt.NDArray[np.int64], films: tuple[str, ...]) -> Ratings:
    rows = _rows_of(table, users, films)
    rows["stars"] = table["rating"].to_numpy(np.float32)
    rows["time"] = _microseconds(table["rated_at"])
    # Of equal times the later row counts, hence the stable sort.
    rows = rows.sort_values("time", kind="stable").drop_duplicates(["user", "film"], keep="last")
    return Ratings(*(rows[name].to_numpy() for name in ("user", "film", "stars", "time")))


def _watches(
    table: pd.DataFrame, users: npt.NDArray[np.int64], films: tuple[str, ...]
) -> tuple[Watches, npt.NDArray[np.int64]]:
    """The watches, and the row that has each pair first."""
    rows = _rows_of(table, users, films)
    rows["minutes"] = table["minutes"].to_numpy(np.int32)
    rows["time"] = _microseconds(table["watched_at"])
    rows["row"] = table.index.to_numpy(np.int64)
    total = rows.groupby(["user", "film"], sort=True, as_index=False).agg({"minutes": "sum", "time": "max", "row": "min"})
    user, film, minutes = (total[name].to_numpy(np.int32) for name in ("user", "film", "minutes"))
    return Watches(user, film, minutes, total["time"].to_numpy(np.int64)), total["row"].to_numpy(np.int64)


def _microseconds(times: pd.Series[str]) -> npt.NDArray[np.int64]:
    """Since 1970. Times may have up to 9 decimals of a second; those after the sixth are cut off."""
    return pd.to_datetime(times.astype(str).str[:_MICROSECONDS], format="ISO8601").to_numpy("datetime64[us]").astype(np.int64)
