"""The version behind each answer: rows of `reccom`, joined with the answers in the stream."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from app.provenance.archive import Archive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auto_deployment.common.database import Database

# The film service writes its line when it has the answer. We write our row just before we give the answer. Between the two
# are the film service's time limit of 800 ms and the difference of the two clocks.
MATCH_SECONDS = 10
COLUMNS = "{'user_id': 'BIGINT', 'version': 'INTEGER', 'track': 'VARCHAR', 'served_at': 'TIMESTAMP', 'digest': 'UBIGINT'}"
EMPTY = (
    "SELECT NULL::BIGINT AS user_id, NULL::INTEGER AS version, NULL::VARCHAR AS track, NULL::TIMESTAMP AS served_at, "
    "NULL::UBIGINT AS digest WHERE false"
)


def served_lines(url: str, first: datetime, last: datetime) -> Iterator[str]:
    """A tab-separated line for each answer that was served between two times in UTC.

    Raises `app.provenance.DatabaseError`.
    """
    with closing(Archive(url)) as archive:
        for user, version, track, served_at, digest in archive.served_between(first, last):
            yield f"{user}\t{version}\t{track}\t{served_at.isoformat(sep=' ')}\t{int(digest, 16)}"


def load_served(database: Database, url: str | None, first: datetime, last: datetime) -> None:
    """Make the table `served`: the answers between two times, and some seconds before and after. Empty without a `url`."""
    if url is None:
        database.run(f"CREATE OR REPLACE TEMP TABLE served AS {EMPTY}")
        return
    margin = timedelta(seconds=MATCH_SECONDS)
    database.load("served", COLUMNS, served_lines(url, first - margin, last + margin))


# The nearest served row of the same user with the same list, at most MATCH_SECONDS away.
MATCHED = f"""
CREATE OR REPLACE TEMP TABLE matched AS
WITH before AS (
  SELECT answered.id, served.version, served.track, epoch_us(answered.time) - epoch_us(served.served_at) AS apart
  FROM answered ASOF JOIN served
    ON answered.user_id = served.user_id AND answered.digest = served.digest AND answered.time >= served.served_at
), after AS (
  SELECT answered.id, served.version, served.track, epoch_us(served.served_at) - epoch_us(answered.time) AS apart
  FROM answered ASOF JOIN served
    ON answered.user_id = served.user_id AND answered.digest = served.digest AND answered.time <= served.served_at
)
SELECT id, arg_min(version, apart) AS version, arg_min(track, apart) AS track
FROM (FROM before UNION ALL FROM after)
WHERE apart <= {MATCH_SECONDS} * 1000000
GROUP BY id
"""
