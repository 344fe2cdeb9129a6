"""Answers of one day, judged: was a film of the list begun within the window, and was one of the popular list.

Each day is judged by itself, with the watches of the day before and of the days in the window. So memory does not grow with
the days. What it leaves are sums by user, of which shares and their intervals are made.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.online_evaluation.provenance import MATCHED, load_served
from auto_deployment.online_evaluation.store import day_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.online_evaluation.database import Database
    from auto_deployment.online_evaluation.popular import Popular
    from auto_deployment.online_evaluation.store import Store

OK = 200
HOURS = 24.0


class Judged(NamedTuple):
    """What became of the requests of a day. `young`: the stream is not collected to the end of their window yet."""

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
# After each day, so that there is a row a user, version and track, not one a day more.
MERGED = """
CREATE OR REPLACE TEMP TABLE sums AS
SELECT user_id, version, track, sum(answers)::BIGINT AS answers, sum(hits)::BIGINT AS hits, sum(compared)::BIGINT AS compared,
  sum(compared_hits)::BIGINT AS compared_hits, sum(popular)::BIGINT AS popular
FROM sums GROUP BY user_id, version, track
"""

# Each film's first minute, and the lists that it may have been taken from. A film that the user began before the answer, within
# the days that are looked at, is no success of the answer.
BEGUN = """
CREATE OR REPLACE TEMP TABLE begun AS
SELECT user_id, film, min(begun) AS begun FROM {watches} GROUP BY user_id, film
"""
ASKED = """
CREATE OR REPLACE TEMP TABLE asked AS
SELECT row_number() OVER () AS id, * FROM (
  SELECT DISTINCT time, user_id, digest, len(films) AS places FROM {answers}
  WHERE status = {ok} AND time >= '{start}' AND time <= '{last}'
)
"""
COUNTED = """
SELECT count(*), count(*) FILTER (status <> {ok}), count(*) FILTER (status = {ok} AND time > '{last}')
FROM {answers} WHERE time >= '{start}'
"""
CHOSEN = """
CREATE OR REPLACE TEMP TABLE chosen AS
WITH near AS (
  SELECT asked.*, begun.film FROM asked JOIN begun ON begun.user_id = asked.user_id
  WHERE begun.begun > asked.time AND begun.begun <= asked.time + INTERVAL '{seconds} seconds'
)
SELECT DISTINCT near.id, near.user_id, near.film, near.places, list_contains(films, near.film) AS offered
FROM near JOIN {answers} lists USING (user_id, time, digest) WHERE status = {ok}
"""
# An answer is compared where the user had not seen so much of the popular list that less is left of it than the answer held.
COMPARED = """
CREATE OR REPLACE TEMP TABLE compared AS
WITH lists AS (SELECT version, count(*) AS films FROM popular GROUP BY version)
SELECT asked.id FROM asked JOIN matched USING (id) JOIN lists USING (version)
LEFT JOIN seen ON seen.version = matched.version AND seen.user_id = asked.user_id
WHERE lists.films - bit_count(coalesce(seen.places, 0)) >= asked.places
"""
# The place that a film has in the popular list of a user: its rank less those before it that were left out as seen.
ADDED = """
INSERT INTO sums
WITH hit AS (SELECT id, max(offered::TINYINT) AS hit FROM chosen GROUP BY id),
would AS (
  SELECT DISTINCT chosen.id
  FROM chosen JOIN compared USING (id) JOIN matched USING (id)
  JOIN popular ON popular.version = matched.version AND popular.film = chosen.film
  LEFT JOIN seen ON seen.version = matched.version AND seen.user_id = chosen.user_id
  WHERE (coalesce(seen.places, 0) >> popular.place) & 1 = 0
    AND popular.place - bit_count(coalesce(seen.places, 0) & ((1::UBIGINT << popular.place) - 1)) < chosen.places
)
SELECT asked.user_id, matched.version, matched.track, count(*), sum(coalesce(hit.hit, 0)),
  count(compared.id), sum(CASE WHEN compared.id IS NOT NULL THEN coalesce(hit.hit, 0) ELSE 0 END), count(would.id)
FROM asked LEFT JOIN matched USING (id) LEFT JOIN hit USING (id) LEFT JOIN would USING (id) LEFT JOIN compared USING (id)
GROUP BY ALL
"""


class Window(NamedTuple):
    """Which answers are judged, and how: from `start`, by what was begun within `hours`, as far as is known `until` when."""

    hours: float
    until: datetime
    start: datetime = datetime(1, 1, 1)  # noqa: DTZ001 - the stream's times have no zone

    @property
    def last(self) -> datetime:
        """An answer after it is too young to be judged."""
        return self.until - timedelta(hours=self.hours)


def prepare(database: Database, store: Store, days: Sequence[str], window: Window, url: str | None) -> None:
    """Make the tables `asked`, `matched` and `chosen` of what was answered on these days. Raises `Error` or `DatabaseError`."""
    reach = 1 + int(window.hours // 24)
    beside_them = sorted({day_after(day, apart) for day in days for apart in range(-1, 1 + reach)})
    database.run(BEGUN.format(watches=store.relation("watches", beside_them)))
    answers = store.relation("answers", days)
    database.run(ASKED.format(answers=answers, ok=OK, start=window.start, last=window.last))
    first, last = database.rows("SELECT min(time), max(time) FROM asked")[0]
    load_served(database, url if first is not None else None, first, last)
    database.run(MATCHED)
    database.run(CHOSEN.format(answers=answers, ok=OK, seconds=round(window.hours * 3600)))


def judge(database: Database, store: Store, day: str, window: Window, url: str | None, popular: Popular) -> Judged:
    """Add a day to the table `sums`. Raises `Error` or `DatabaseError`."""
    answers = store.relation("answers", [day])
    requests, failed, young = database.rows(COUNTED.format(answers=answers, ok=OK, start=window.start, last=window.last))[0]
    prepare(database, store, [day], window, url)
    popular.load(database, [version for (version,) in database.rows("SELECT DISTINCT version FROM matched ORDER BY version")])
    database.run(COMPARED)
    database.run(ADDED)
    database.run(MERGED)
    judged, matched = database.rows("SELECT (SELECT count(*) FROM asked), (SELECT count(*) FROM matched)")[0]
    return Judged(requests, failed, young, judged, matched)
