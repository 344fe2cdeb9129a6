"""Tables of ratings for offline metrics: `user_id,movie_id,rating,timestamp`, or `rated_at` as in our own tables."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from auto_deployment.common.errors import WrongUseError
from auto_deployment.ranking.feedback import Feedback
from auto_deployment.training.dataset import Ratings, Watches

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

COLUMNS = ("user_id", "movie_id", "rating", "timestamp")
MICROSECONDS = 1e6
FITS = 2.0**62
# What ends a field or a line of a dump.
ENDS = "[,\t\r\n]"
WHOLE = r"^(\d+)\.0+$"


class Task(NamedTuple):
    """What to train on and what to test on. Rows beyond `users` and `films`, which are those of TRAIN, are of TEST alone."""

    train: Feedback
    test: Ratings
    users: list[str]
    films: list[str]


def read_task(train_path: Path, test_path: Path) -> Task:
    """The two tables. The scale is that of TRAIN's ratings. Raises WrongUseError naming file and fault."""
    train, test = _read(train_path), _read(test_path)
    if not test["movie_id"].isin(train["movie_id"].unique()).any():
        pair = f"TRAIN has {train['movie_id'].iloc[0]!r}, TEST {test['movie_id'].iloc[0]!r}"
        raise WrongUseError(f"{test_path}: no movie_id is in TRAIN ({pair}): write the ids of both tables alike")
    users, films = ([*_names(train[name]), *_names(test[name], train[name])] for name in ("user_id", "movie_id"))
    shape = train["user_id"].nunique(), train["movie_id"].nunique()
    scale = float(train["rating"].min()), float(train["rating"].max())
    if scale[1] <= 0:
        raise WrongUseError(f"{train_path}: its highest rating is {scale[1]:g}: it must be above 0")
    no_rows = np.zeros(0, dtype=np.int32)
    watches = Watches(no_rows, no_rows, no_rows, no_rows.astype(np.int64))
    return Task(
        Feedback(_ratings(train, users, films), watches, shape, scale),
        _ratings(test, users, films),
        users[: shape[0]],
        films[: shape[1]],
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        table = _parsed(path)
        if table.empty or table.isna().any(axis=None):
            raise WrongUseError(f"{path}: has no row, or a row with a hole")
        table["timestamp"] = _seconds(table["timestamp"])
    except OSError as error:
        raise WrongUseError(f"{path}: {error.strerror or error}: name a table of {','.join(COLUMNS)}") from error
    except pd.errors.ParserWarning as error:
        raise WrongUseError(f"{path}: not a table of {','.join(COLUMNS)}: rows have more fields than the header") from error
    except (ValueError, KeyError) as error:
        reason = next(iter(str(error).strip().splitlines()), "it cannot be read")
        raise WrongUseError(f"{path}: not a table of {','.join(COLUMNS)}: {reason}") from error
    if not np.isfinite(table[["rating", "timestamp"]].to_numpy()).all():
        raise WrongUseError(f"{path}: has a rating or a timestamp without end: every number must be finite")
    if any(pd.Index(table[name].unique()).str.contains(ENDS).any() for name in ("user_id", "movie_id")):
        raise WrongUseError(f"{path}: has a name with a comma, a tab or a line's end in it, which no dump can hold: rename it")
    return table


def _parsed(path: Path) -> pd.DataFrame:
    """The columns as they stand; rows with more fields than the header are an error, where pandas would shift them."""
    types = {"user_id": "str", "movie_id": "str", "rating": "float32"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        # Of pandas' own words for a hole, such as NA, all but the empty one may be names.
        table = pd.read_csv(path, dtype=types, index_col=False, keep_default_na=False, na_values=[""])
    table = table if "timestamp" in table else table.rename(columns={"rated_at": "timestamp"})
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"column {', '.join(missing)} is missing; there are {', '.join(map(str, table.columns))}")
    for name in ("user_id", "movie_id"):  # a column of numbers with a hole was written as 1.0, 2.0
        table[name] = table[name].str.replace(WHOLE, r"\1", regex=True)
    return table[list(COLUMNS)]


def _seconds(times: pd.Series[str]) -> pd.Series[float]:
    """Since 1970, of numbers as well as of ISO 8601."""
    if pd.api.types.is_numeric_dtype(times):
        return times.astype("float64")
    return pd.to_datetime(times, format="ISO8601", utc=True).astype("datetime64[us, UTC]").astype("int64") / 1e6


def _names(column: pd.Series[str], known: pd.Series[str] | None = None) -> list[str]:
    return sorted(set(column) - set(() if known is None else known))


def _ratings(table: pd.DataFrame, users: list[str], films: list[str]) -> Ratings:
    """In the order of time, the latest of a pair. Times that are too large for seconds keep their order and proportions."""
    rows = table.sort_values("timestamp", kind="stable").drop_duplicates(["user_id", "movie_id"], keep="last")
    return Ratings(
        pd.Index(users).get_indexer(pd.Index(rows["user_id"])).astype(np.int32),
        pd.Index(films).get_indexer(pd.Index(rows["movie_id"])).astype(np.int32),
        rows["rating"].to_numpy(np.float32),
        _microseconds(rows["timestamp"].to_numpy()),
    )


def _microseconds(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """As whole numbers, scaled down if they would not fit. Only ratios of time differences count."""
    most = float(np.abs(seconds).max(initial=0)) * MICROSECONDS
    return (seconds * min(MICROSECONDS, MICROSECONDS * FITS / max(most, 1.0))).astype(np.int64)
