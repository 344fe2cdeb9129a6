"""The popular list of each version, and which of its films a user had seen in that version's data.

    popular/7.json      the films, best first
    popular/7.parquet   user_id, places: bit p is set where the user had rated or watched film number p

Both are written when the version is made, because its artifact and its pair table may be gone later.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from app.model import load_serving
from auto_deployment.common.database import Database, quoted
from auto_deployment.common.json_file import read_json, write_json_synced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# The artifact's reserve, and the bits of a number.
MOST = 64
# The next version is in service at most so long after it was made. So many versions may serve again after a rollback.
BAKES = timedelta(days=7)
KEPT = 4
EMPTY = "SELECT NULL::INTEGER AS version, NULL::BIGINT AS user_id, NULL::UBIGINT AS places WHERE false"


class Popular:
    """The lists under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def films(self, version: int) -> list[str] | None:
        """The popular list of a version; None where it was not kept. Raises StateError."""
        content = read_json(self._folder / f"{version}.json")
        return None if content is None else list(content["films"])

    def keep(self, model: Path, pairs: str, scratch: Path) -> None:
        """Keep the list of the version in `model`, and which of its films users have seen.

        `pairs` is an SQL relation of user_id and movie_id. Raises ArtifactError, OSError or `Error`.
        """
        serving = load_serving(model)
        films = [serving.films[film] for film in serving.cold[0].tolist() if film != serving.empty][:MOST]
        self._folder.mkdir(parents=True, exist_ok=True)
        with Database(scratch) as database:
            _load_films(database, [(serving.version, films)])
            database.copy(_seen(pairs), self._folder / f"{serving.version}.parquet")
        write_json_synced(self._folder / f"{serving.version}.json", {"films": films})

    def size(self) -> int:
        """The size of all files, in bytes."""
        return sum(path.stat().st_size for path in self._folder.glob("*.*"))

    def drop_before(self, day: date) -> None:
        """Drop the lists of versions that cannot have answered since `day`, the oldest day with kept answers."""
        made = {
            int(path.stem): datetime.fromtimestamp(path.stat().st_mtime, UTC).date() for path in self._folder.glob("*.json")
        }
        for version in superseded(made, day):
            for path in (self._folder / f"{version}.parquet", self._folder / f"{version}.json"):
                path.unlink(missing_ok=True)

    def load(self, database: Database, versions: Sequence[int | None]) -> None:
        """Make the tables `popular` (version, place, film) and `seen` (version, user_id, places) of the versions' files."""
        lists = [(version, films) for version in versions if version is not None and (films := self.films(version))]
        _load_films(database, lists)
        every = [f"SELECT {version}::INTEGER AS version, * FROM read_parquet({self._seen(version)})" for version, _ in lists]
        rows = " UNION ALL ".join(every) or EMPTY
        database.run(
            f"CREATE OR REPLACE TEMP TABLE seen AS SELECT * FROM ({rows}) WHERE user_id IN (SELECT user_id FROM answered)"
        )

    def _seen(self, version: int) -> str:
        return quoted(str(self._folder / f"{version}.parquet"))


def superseded(made: Mapping[int, date], day: date) -> list[int]:
    """The versions that gave their last answer before `day`. `made` has the day on which each version was made. Pure.

    A version answers until the next has baked, and again after a rollback to one of the last few.
    """
    newer = sorted(version for version, when in made.items() if when < day - BAKES)[-KEPT:]
    return sorted(version for version in made if newer and version < newer[0])


def _load_films(database: Database, lists: Sequence[tuple[int, Sequence[str]]]) -> None:
    lines = [f"{version}\t{place}\t{film}" for version, films in lists for place, film in enumerate(films)]
    database.load("popular", "{'version': 'INTEGER', 'place': 'UTINYINT', 'film': 'VARCHAR'}", lines)


def _seen(pairs: str) -> str:
    """SQL: users, and the places of the popular films among `pairs`, a relation of user_id and movie_id."""
    return (
        f"SELECT user_id, bit_or(1::UBIGINT << popular.place) AS places FROM {pairs} known "
        "JOIN popular ON popular.film = known.movie_id GROUP BY user_id ORDER BY user_id"
    )
