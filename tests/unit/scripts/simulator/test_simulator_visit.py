from __future__ import annotations

import re
import time
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from scripts.simulator.errors import InputError
from scripts.simulator.lines import RequestOutcome
from scripts.simulator.visit import VisitLog, VisitOptions, VisitReport, VisitSchedule, visitors

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://127.0.0.1:1"


class Lines(list[str]):
    """A sink that keeps its lines."""

    def write(self, line: str, /) -> None:
        """Keep the line."""
        self.append(line)


def answer(milliseconds: float, failure: str = "") -> RequestOutcome:
    """An answer of which only time and failure matter."""
    return RequestOutcome("h:1", 0 if failure else 200, "a+1999", milliseconds, failure=failure)


def test_a_summary_counts_and_measures() -> None:
    """Requests, successes, failures by kind with the most frequent first, and the percentiles over all."""
    report = VisitReport()
    for milliseconds in range(1, 98):
        report.add(answer(float(milliseconds)))
    for failure in ("status 500", "timeout", "timeout"):
        report.add(answer(600.0, failure))
    assert report.failed == 3
    assert report.summary() == "requests 100, ok 97, failed 3 (timeout 2, status 500 1), p50 50.5 ms, p99 600.0 ms"


def test_a_summary_of_nothing_has_no_percentiles() -> None:
    """Interrupted before the first answer, there is nothing to measure."""
    assert VisitReport().summary() == "requests 0, ok 0, failed 0"


def test_each_answer_is_one_line_in_the_order_of_time() -> None:
    """The visit_log stamps, writes, counts and tells."""
    lines, totals, report = Lines(), list[int](), VisitReport()
    visit_log = VisitLog(lines, report, totals.append)
    for user in ("5", "6", "7"):
        visit_log.note(user, answer(3.0))
    assert totals == [1, 2, 3]
    assert len(report.milliseconds) == 3
    for line, user in zip(lines, "567", strict=True):
        form = (
            rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}},{user},recommendation request h:1, status 200, result: a\+1999, 3 ms"
        )
        assert re.fullmatch(form, line)
    assert list(lines) == sorted(lines)


def test_tickets_run_out() -> None:
    """As many visits as asked for, each to the next visitor."""
    schedule = VisitSchedule(VisitOptions(URL, count=2), iter("abc"))
    schedule.open()
    assert [schedule.take() for _ in range(4)] == ["a", "b", None, None]


def test_tickets_at_a_rate_wait_until_they_are_due() -> None:
    """At 50 a second the fifth is handed out 80 ms after the first."""
    schedule = VisitSchedule(VisitOptions(URL, rate=50.0, count=9), iter("abcdefghi"))
    schedule.open()
    begun = time.monotonic()
    assert [schedule.take() for _ in range(5)] == list("abcde")
    assert 0.075 <= time.monotonic() - begun < 2


def test_closed_tickets_are_not_handed_out() -> None:
    """Nobody begins a visit, or goes on waiting for one, after the end."""
    schedule = VisitSchedule(VisitOptions(URL, rate=0.001, count=9), iter("abc"))
    schedule.open()
    assert schedule.take() == "a"
    schedule.close()
    begun = time.monotonic()
    assert schedule.take() is None
    assert time.monotonic() - begun < 1


def test_closed_before_they_are_opened_no_ticket_is_handed_out() -> None:
    """Interrupted while the visitors gather, nobody visits, and nobody waits."""
    schedule = VisitSchedule(VisitOptions(URL, count=9), iter("abc"))
    schedule.close()
    assert schedule.take() is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (VisitOptions(URL, clients=16), 16),
        (VisitOptions(URL, clients=16, count=3), 3),
        (VisitOptions(URL, rate=100.0, timeout_ms=600.0), 62),
        (VisitOptions(URL, rate=0.5, timeout_ms=600.0), 3),
    ],
)
def test_connections_suffice_for_the_rate(options: VisitOptions, expected: int) -> None:
    """At a rate, as many visits can be under way as begin within a time-out; else as many as there are clients."""
    assert options.connections == expected


def test_visitors_by_number_are_seeded_and_within_it() -> None:
    """A number gives ids from 1 to it, the same for the same seed."""
    some = list(islice(visitors("50", seed=3), 500))
    assert some == list(islice(visitors("50", seed=3), 500))
    assert some != list(islice(visitors("50", seed=4), 500))
    assert {int(user) for user in some} == set(range(1, 51))


def test_visitors_of_a_file_come_over_and_over(tmp_path: Path) -> None:
    """One line, one visitor, also one with an id that is none; blank lines are passed over."""
    path = tmp_path / "users.txt"
    path.write_text("12\n\nno user\r\n34\n")
    assert list(islice(visitors(str(path), seed=0), 5)) == ["12", "no user", "34", "12", "no user"]


def test_users_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """A file that is missing, empty or no text ends in one line that says what is wanted."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("empty", "binary", "missing"):
        with pytest.raises(InputError, match=f"{name}.*give a number, or a file with one id a line"):
            visitors(str(tmp_path / name), seed=0)
