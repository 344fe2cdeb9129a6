"""The effect of showing a film: a user's odds of beginning a film of their list, just after an answer and without one.

Each user with one list is a stratum, so that tastes and lists of different users are never compared. The common odds ratio is
that of Mantel and Haenszel (1959). It holds for many small strata. Its interval is that of Robins, Breslow and Greenland
(1986, "Estimators of the Mantel-Haenszel variance consistent in both sparse data and large-strata limiting models"). In the
simulator, chance decides when a user asks. In real life users decide.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.common.intervals import Z
from auto_deployment.online_evaluation.parquet_store import day_after
from auto_deployment.online_evaluation.share_intervals import ConfidenceInterval

if TYPE_CHECKING:
    from auto_deployment.common.database import Database
    from auto_deployment.online_evaluation.parquet_store import ParquetStore

# An answer counts as the cause of the film that the user begins next within these minutes.
OCCASION_MINUTES = 30
# A film with fewer users may be a damaged id from the middle of another viewing. It would count as a film without an answer.
FEWEST_USERS = 3
STRATA = "CREATE TEMP TABLE strata (user_id BIGINT, digest UBIGINT, a BIGINT, b BIGINT, c BIGINT, d BIGINT)"
# For each film that a user begins on the day: whether it is the first film since an answer, and the list of that answer. Other
# films take the nearest list in time, earlier or later. With earlier lists only, more of the list would already be watched.
ADDED = """
INSERT INTO strata
WITH all_films AS (
  SELECT user_id, film, min(begun) AS begun FROM {watches} GROUP BY user_id, film
), films AS (
  SELECT * FROM all_films WHERE film IN (SELECT film FROM all_films GROUP BY film HAVING count(*) >= {fewest})
), viewings AS (
  SELECT *, lag(begun) OVER (PARTITION BY user_id ORDER BY begun, film) AS previous FROM films
), today AS (
  SELECT * FROM viewings WHERE begun::DATE = '{day}'
), answers AS (
  SELECT user_id, time FROM {answers} WHERE status = 200
), nearest AS (
  SELECT today.user_id, film, time, epoch_us(begun) - epoch_us(time) AS apart,
    time > begun - INTERVAL '{minutes} minutes' AND coalesce(previous <= time, true) AS shown
  FROM today ASOF JOIN answers ON today.user_id = answers.user_id AND today.begun > answers.time
  UNION ALL
  SELECT today.user_id, film, time, epoch_us(time) - epoch_us(begun), false
  FROM today ASOF JOIN answers ON today.user_id = answers.user_id AND today.begun <= answers.time
), labelled AS (
  SELECT user_id, film, max(shown) AS shown, arg_min(time, CASE WHEN shown THEN -1 ELSE apart END) AS time
  FROM nearest GROUP BY user_id, film
), compared AS (
  SELECT user_id, film, any_value(digest) AS digest, any_value(shown) AS shown, max(list_contains(films, film)) AS offered
  FROM labelled JOIN {answers} lists USING (user_id, time) WHERE status = 200 GROUP BY user_id, film
)
SELECT user_id, digest, count(*) FILTER (shown AND offered), count(*) FILTER (shown AND NOT offered),
  count(*) FILTER (NOT shown AND offered), count(*) FILTER (NOT shown AND NOT offered)
FROM compared GROUP BY user_id, digest
"""
# After each day, so that a user and list have one row, not one for each day.
MERGED = """
CREATE OR REPLACE TEMP TABLE strata AS
SELECT user_id, digest, sum(a)::BIGINT AS a, sum(b)::BIGINT AS b, sum(c)::BIGINT AS c, sum(d)::BIGINT AS d
FROM strata GROUP BY user_id, digest
"""
SUMMED = """
WITH tables AS (
  SELECT a::DOUBLE AS a, b::DOUBLE AS b, c::DOUBLE AS c, d::DOUBLE AS d FROM strata
), parts AS (
  SELECT a + b AS shown, c + d AS unshown, a * d / (a + b + c + d) AS r, b * c / (a + b + c + d) AS s,
    (a + d) / (a + b + c + d) AS p, (b + c) / (a + b + c + d) AS q
  FROM tables
)
SELECT coalesce(sum(shown), 0), coalesce(sum(unshown), 0), coalesce(sum(r), 0), coalesce(sum(s), 0),
  coalesce(sum(p * r), 0), coalesce(sum(p * s + q * r), 0), coalesce(sum(q * s), 0)
FROM parts
"""


class Strata(NamedTuple):
    """Sums over strata: viewings with and without an answer before them, and the terms of the odds ratio and its variance."""

    shown: float
    unshown: float
    r: float
    s: float
    pr: float
    psqr: float
    qs: float


def add(database: Database, store: ParquetStore, day: str) -> None:
    """Add a day's viewings to the table `strata`. Raises `Error`."""
    watches = store.relation("watches", [day_after(day, apart) for apart in (-1, 0)])
    answers = store.relation("answers", [day_after(day, apart) for apart in (-1, 0, 1)])
    database.run(ADDED.format(watches=watches, answers=answers, minutes=OCCASION_MINUTES, fewest=FEWEST_USERS, day=day))
    database.run(MERGED)


def summed(database: Database) -> Strata:
    """The strata's sums."""
    return Strata(*database.rows(SUMMED)[0])


def uplift(strata: Strata) -> ConfidenceInterval | None:
    """The odds ratio less 1, like the simulator's `--uplift`. None if one side has no success. Pure."""
    if strata.r <= 0 or strata.s <= 0:
        return None
    variance = strata.pr / (2 * strata.r**2) + strata.psqr / (2 * strata.r * strata.s) + strata.qs / (2 * strata.s**2)
    middle, half = log(strata.r / strata.s), Z * sqrt(variance)
    return ConfidenceInterval(exp(middle) - 1, exp(middle - half) - 1, exp(middle + half) - 1)
