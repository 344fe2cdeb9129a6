"""The `tracking` rows of versions: inserted into the database, or kept for later while it is unreachable."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from app.provenance import DatabaseError, Ledger, with_times
from auto_deployment.common.json_file import read_json, write_json_synced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

FILE = "tracking_pending.json"


class TrackingQueue:
    """The rows that the database at `url` does not have yet, in the JSON file `path`."""

    def __init__(self, path: Path, url: str | None) -> None:
        self._path = path
        self._url = url

    def put(self, row: Mapping[str, Any]) -> None:
        """Insert the row of a version after all waiting rows."""
        others = [each for each in self._waiting() if each["version_number"] != row["version_number"]]
        self._put([*others, row])

    def retry(self) -> None:
        """Insert the waiting rows. The next version, which would insert them too, may be days away."""
        if (rows := self._waiting()) and self._url is not None:
            self._put(rows)

    def _put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        write_json_synced(self._path, {"rows": put_rows(self._url, rows)})

    def _waiting(self) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = (read_json(self._path) or {"rows": []})["rows"]
        return rows


def put_rows(url: str | None, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Insert rows, whose times are ISO 8601 in UTC. Returns the rows to try again later: all of them, or none.

    A row that is inserted twice is stored once.
    """
    if url is None:
        log.info("MYSQL_USER is not set, so there is no database: %d tracking rows are kept for later", len(rows))
        return list(rows)
    ledger = Ledger(url)
    try:
        ledger.create()
        for row in rows:
            ledger.track(with_times(row))
    except DatabaseError as error:
        log.warning(
            "the database is unreachable, %d tracking rows are kept for later: %s", len(rows), str(error).splitlines()[0]
        )
        return list(rows)
    finally:
        ledger.close()
    return []
