"""The watches of an installation by pair: from all parts, and from the kept pair table."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

import duckdb

from app.model import read_version

if TYPE_CHECKING:
    from pathlib import Path

# User, film, minutes, first and last time.
Pair: TypeAlias = tuple[int, str, int, datetime, datetime]
PAIR = "user_id, movie_id, sum(minutes)::BIGINT, min(first_at), max(last_at)"


def pairs_of_parts(data: Path) -> list[Pair]:
    """Each pair of the parts in a data folder, which must be there: DVC fetches them."""
    with duckdb.connect() as database:
        return _pairs(database.read_parquet(str(data / "versioning" / "clean_watch_*.parquet")))


def pairs_of_table(data: Path) -> list[Pair]:
    """Each pair of the pair table that was made for the last version."""
    folder = data / "pairs" / str(read_version(data))
    with duckdb.connect() as database:
        films = database.read_parquet(str(folder / "films.parquet"))
        return _pairs(database.read_parquet(str(folder / "watches_*.parquet")).join(films, "code = film"))


def _pairs(rows: duckdb.DuckDBPyRelation) -> list[Pair]:
    return rows.aggregate(PAIR, "user_id, movie_id").order("user_id, movie_id").fetchall()
