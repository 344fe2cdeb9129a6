"""The `tracking` rows of versions: put into the database, or kept for later where it is away."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from app.provenance import DatabaseError, Ledger, with_times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)


def put_rows(url: str | None, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Put rows, whose times are ISO 8601 in UTC; the rows that could not be put, for the next run.

    Putting a row twice is no harm.
    """
    if url is None:
        log.info("MYSQL_USER is not set: there is no database, %d tracking rows are kept for later", len(rows))
        return list(rows)
    ledger = Ledger(url)
    try:
        ledger.create()
        for row in rows:
            ledger.track(with_times(row))
    except DatabaseError as error:
        log.warning("the database is away, %d tracking rows are kept for later: %s", len(rows), str(error).splitlines()[0])
        return list(rows)
    finally:
        ledger.close()
    return []
