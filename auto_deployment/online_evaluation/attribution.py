"""Attribution of watches to the answers of one day: begun films of the answer's list, and of the popular list.

Each day is attributed by itself, with the watches of the day before and of the days in the window. So memory does not grow
with the days. The results are sums by user, from which `metrics` computes shares and their intervals.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.online_evaluation.parquet_store import day_after
from auto_deployment.online_evaluation.served_answers import MATCHED, load_served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.common.database import Database
    from auto_deployment.online_evaluation.parquet_store import ParquetStore
    from auto_deployment.online_evaluation.popular import Popular

OK = 200
HOURS = 24.0


class AnswerCounts(NamedTuple):
    """The requests of a day. Each is failed, young or judged; `matched` of the judged ones have a row in provenance.

    An answer is young while the stream is not collected to the end of its window.
    """

    requests: int
    failed: int
    young: int
    judged: int
    matched: int


SUMS = """
CREATE TEMP TABLE sums (
  user_id BIGINT, version INTEGER, track VARCHAR, answers BIGINT, hits BIGINT, compared BIGINT, compared_hits BIGINT,
  popular BIGINT
)
"""
# After each day, so that a user, version and track have one row, not one for each day.
MERGED = """
CREATE OR REPLACE TEMP TABLE sums AS
SELECT user_id, version, track, sum(answers)::BIGINT AS answers, sum(hits)::BIGINT AS hits, sum(compared)::BIGINT AS compared,
  sum(compared_hits)::BIGINT AS compared_hits, sum(popular)::BIGINT AS popular
FROM sums GROUP BY user_id, version, track
"""

# The first minute of each film. A film that the user began before the answer, in the days of this query, is no success of it.
BEGUN = """
CREATE OR REPLACE TEMP TABLE begun AS
SELECT user_id, film, min(begun) AS begun FROM {watches} GROUP BY user_id, film
"""
ANSWERED = """
CREATE OR REPLACE TEMP TABLE answered AS
SELECT row_number() OVER () AS id, * FROM (
  SELECT DISTINCT time, user_id, digest, len(films) AS places FROM {answers}
  WHERE status = {ok} AND time >= '{start}' AND time <= '{last}'
)
"""
COUNTED = """
SELECT count(*), count(*) FILTER (status <> {ok}), count(*) FILTER (status = {ok} AND time > '{last}')
FROM {answers} WHERE time >= '{start}'
"""
BEGUN_AFTER = """
CREATE OR REPLACE TEMP TABLE begun_after AS
WITH near AS (
  SELECT answered.*, begun.film FROM answered JOIN begun ON begun.user_id = answered.user_id
  WHERE begun.begun > answered.time AND begun.begun <= answered.time + INTERVAL '{seconds} seconds'
)
SELECT DISTINCT near.id, near.user_id, near.film, near.places, list_contains(films, near.film) AS offered
FROM near JOIN {answers} lists USING (user_id, time, digest) WHERE status = {ok}
"""
# An answer is compared if the popular list, without the films that the user had seen, is as long as the answer.
COMPARED = """
CREATE OR REPLACE TEMP TABLE compared AS
WITH lists AS (SELECT version, count(*) AS films FROM popular GROUP BY version)
SELECT answered.id FROM answered JOIN matched USING (id) JOIN lists USING (version)
LEFT JOIN seen ON seen.version = matched.version AND seen.user_id = answered.user_id
WHERE lists.films - bit_count(coalesce(seen.places, 0)) >= answered.places
"""
# The place of a film in the popular list of a user: its rank, less the seen films before it.
ADDED = """
INSERT INTO sums
WITH hit AS (SELECT id, max(offered::TINYINT) AS hit FROM begun_after GROUP BY id),
would AS (
  SELECT DISTINCT begun_after.id
  FROM begun_after JOIN compared USING (id) JOIN matched USING (id)
  JOIN popular ON popular.version = matched.version AND popular.film = begun_after.film
  LEFT JOIN seen ON seen.version = matched.version AND seen.user_id = begun_after.user_id
  WHERE (coalesce(seen.places, 0) >> popular.place) & 1 = 0
    AND popular.place - bit_count(coalesce(seen.places, 0) & ((1::UBIGINT << popular.place) - 1)) < begun_after.places
)
SELECT answered.user_id, matched.version, matched.track, count(*), sum(coalesce(hit.hit, 0)),
  count(compared.id), sum(CASE WHEN compared.id IS NOT NULL THEN coalesce(hit.hit, 0) ELSE 0 END), count(would.id)
FROM answered LEFT JOIN matched USING (id) LEFT JOIN hit USING (id) LEFT JOIN would USING (id) LEFT JOIN compared USING (id)
GROUP BY ALL
"""


class AttributionWindow(NamedTuple):
    """The answers from `start` on count. A film must begin within `hours`. The stream is known `until` then."""

    hours: float
    until: datetime
    start: datetime = datetime(1, 1, 1)  # noqa: DTZ001 - the stream's times have no zone

    @property
    def last(self) -> datetime:
        """The last time of an answer that is old enough."""
        return self.until - timedelta(hours=self.hours)


def prepare(database: Database, store: ParquetStore, days: Sequence[str], window: AttributionWindow, url: str | None) -> None:
    """Make the tables `answered`, `matched` and `begun_after` for the answers of these days.

    Raises `Error` or `DatabaseError`.
    """
    reach = 1 + int(window.hours // 24)
    neighbours = sorted({day_after(day, apart) for day in days for apart in range(-1, 1 + reach)})
    database.run(BEGUN.format(watches=store.relation("watches", neighbours)))
    answers = store.relation("answers", days)
    database.run(ANSWERED.format(answers=answers, ok=OK, start=window.start, last=window.last))
    first, last = database.rows("SELECT min(time), max(time) FROM answered")[0]
    load_served(database, url if first is not None else None, first, last)
    database.run(MATCHED)
    database.run(BEGUN_AFTER.format(answers=answers, ok=OK, seconds=round(window.hours * 3600)))


def attribute_day(
    database: Database, store: ParquetStore, day: str, window: AttributionWindow, url: str | None, popular: Popular
) -> AnswerCounts:
    """Add a day to the table `sums`. Raises `Error` or `DatabaseError`."""
    answers = store.relation("answers", [day])
    requests, failed, young = database.rows(COUNTED.format(answers=answers, ok=OK, start=window.start, last=window.last))[0]
    prepare(database, store, [day], window, url)
    popular.load(database, [version for (version,) in database.rows("SELECT DISTINCT version FROM matched ORDER BY version")])
    database.run(COMPARED)
    database.run(ADDED)
    database.run(MERGED)
    judged, matched = database.rows("SELECT (SELECT count(*) FROM answered), (SELECT count(*) FROM matched)")[0]
    return AnswerCounts(requests, failed, young, judged, matched)
