from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.simulator import lines
from scripts.simulator.lines import RequestOutcome, exact_stamp, whole_stamp


def seconds(text: str) -> int:
    """Seconds since 1970 of a time without a zone."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2023-10-25T07:20:57", "2023-10-25T07:20:57"),
        ("2024-10-14T15:22:00", "2024-10-14T15:22"),
        ("2024-10-14T00:00:00", "2024-10-14T00:00"),
    ],
)
def test_seconds_of_zero_are_left_out(time: str, expected: str) -> None:
    """Times of watch and rating lines are whole seconds, and end at the minute when it is full."""
    assert whole_stamp(seconds(time)) == expected


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (415_793_000, "2022-03-04T20:22:00.415793"),
        (400_000_000, "2022-03-04T20:22:00.400"),
        (0, "2022-03-04T20:22:00.000"),
        (1, "2022-03-04T20:22:00.000000001"),
        (1_000, "2022-03-04T20:22:00.000001"),
    ],
)
def test_requests_carry_3_6_or_9_decimals(fraction: int, expected: str) -> None:
    """As few groups of three decimals as hold the time, and the seconds even when they are zero."""
    assert exact_stamp(seconds("2022-03-04T20:22:00") * lines.SECOND + fraction) == expected


@given(st.integers(min_value=0, max_value=4 * 10**18))
def test_an_exact_time_loses_nothing(nanosecond: int) -> None:
    """Read back, the stamp is the very nanosecond."""
    whole, _, decimals = exact_stamp(nanosecond).partition(".")
    assert len(decimals) in {3, 6, 9}
    assert seconds(whole) * lines.SECOND + int(decimals.ljust(9, "0")) == nanosecond


def test_bodies_have_the_forms_of_the_stream() -> None:
    """Watch, rating and account lines, without their time, as in the real stream."""
    assert lines.watch(135941, "interstellar+2014", 134) == "135941,GET /data/m/interstellar+2014/134.mpg"
    assert lines.rating(303668, "dr.+no+1962", 4) == "303668,GET /rate/dr.+no+1962=4"
    assert lines.account(7) == "7,GET /create_account"


def test_a_request_line_joins_its_films_and_ends_in_the_time() -> None:
    """Ids are joined by a comma and a blank; milliseconds are whole."""
    answer = RequestOutcome("host:8082", 200, "a+1999, b+2000", 390.6)
    expected = "514537,recommendation request host:8082, status 200, result: a+1999, b+2000, 391 ms"
    assert lines.recommendation(514537, answer) == expected


def test_an_error_of_several_lines_stays_one_line() -> None:
    """Whatever a service answers, its line is one line."""
    line = lines.recommendation(1, RequestOutcome("h:1", 500, "first\nsecond\r\nthird\u2028fourth", 3))
    assert re.fullmatch(r"1,.*, status 500, result: first second third fourth, 3 ms", line)
