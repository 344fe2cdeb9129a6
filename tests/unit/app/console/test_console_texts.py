"""How pages print values."""

from __future__ import annotations

import pytest

from app.console.texts import UNKNOWN, measured, printed


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (1234567, "number", "1,234,567"),
        (0.123456, "number", "0.1235"),
        (0.0071, "score", "0.007"),
        (0.005, "share", "0.5 %"),
        (1, "share", "100 %"),
        (0.0123, "seconds", "12.3 ms"),
        (75, "seconds", "1 min 15 s"),
        (41.5, "rate", "41.5 a second"),
        (999, "bytes", "999 B"),
        (1.5e9, "bytes", "1.5 GB"),
        (2e15, "bytes", "2e+03 TB"),
        (0, "time", "1970-01-01 00:00:00 UTC"),
        (3, "status", "3 refused"),
        (130, "status", "130"),
        (90061, "span", "1 d 1 h"),
        (0, "yes", "NO"),
        (None, "number", UNKNOWN),
        (float("nan"), "share", UNKNOWN),
        (float("inf"), "bytes", UNKNOWN),
        (1e30, "time", UNKNOWN),
        ("7", "number", UNKNOWN),
    ],
)
def test_a_value_is_printed_with_its_unit(value: object, kind: str, text: str) -> None:
    """What is missing, or beyond what can be printed, is not known."""
    assert printed(value, kind) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0007404, "s", "0.74 ms"),
        (0.005, "share", "0.5 %"),
        (0.8622, "ratio", "0.8622 times"),
        (78_409_728, "bytes", "78.4 MB"),
        (0, "restarts", "0 restarts"),
        (7, "", "7"),
        (None, "s", UNKNOWN),
        (float("nan"), "exits", UNKNOWN),
    ],
)
def test_a_measure_is_printed_in_a_unit_that_people_read(value: float | None, unit: str, text: str) -> None:
    """A unit of a later software is printed as it is."""
    assert measured(value, unit) == text
