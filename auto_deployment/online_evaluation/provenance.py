"""Which version answered: rows of `reccom`, joined with the answers in the stream."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from app.provenance.archive import Archive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auto_deployment.online_evaluation.database import Database

# The stream's line is written when the film service has its answer, our row just before we give it: within its patience of
# 800 ms, and what the two clocks differ by.
MATCH_SECONDS = 10
COLUMNS = "{'user_id': 'BIGINT', 'version': 'INTEGER', 'track': 'VARCHAR', 'served_at': 'TIMESTAMP', 'digest': 'UBIGINT'}"
EMPTY = (
    "SELECT NULL::BIGINT AS user_id, NULL::INTEGER AS version, NULL::VARCHAR AS track, NULL::TIMESTAMP AS served_at, "
    "NULL::UBIGINT AS digest WHERE false"
)


def served_lines(url: str, first: datetime, last: datetime) -> Iterator[str]:
    """A line with tabs for each answer served between two times in UTC. Raises `app.provenance.DatabaseError`."""
    with closing(Archive(url)) as archive:
        for user, version, track, served_at, digest in archive.served_between(first, last):
            yield f"{user}\t{version}\t{track}\t{served_at.isoformat(sep=' ')}\t{int(digest, 16)}"


def load_served(database: Database, url: str | None, first: datetime, last: datetime) -> None:
    """Make the table `served` of what was served in between, and a little before and after."""
    if url is None:
        database.run(f"CREATE OR REPLACE TEMP TABLE served AS {EMPTY}")
        return
    margin = timedelta(seconds=MATCH_SECONDS)
    database.load("served", COLUMNS, served_lines(url, first - margin, last + margin))


# The served row nearest in time of the same user with the very same list; none further away than MATCH_SECONDS.
MATCHED = f"""
CREATE OR REPLACE TEMP TABLE matched AS
WITH before AS (
  SELECT asked.id, served.version, served.track, epoch_us(asked.time) - epoch_us(served.served_at) AS apart
  FROM asked ASOF JOIN served
    ON asked.user_id = served.user_id AND asked.digest = served.digest AND asked.time >= served.served_at
), after AS (
  SELECT asked.id, served.version, served.track, epoch_us(served.served_at) - epoch_us(asked.time) AS apart
  FROM asked ASOF JOIN served
    ON asked.user_id = served.user_id AND asked.digest = served.digest AND asked.time <= served.served_at
)
SELECT id, arg_min(version, apart) AS version, arg_min(track, apart) AS track
FROM (FROM before UNION ALL FROM after)
WHERE apart <= {MATCH_SECONDS} * 1000000
GROUP BY id
"""
