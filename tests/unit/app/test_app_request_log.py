from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import request_log
from app.request_log import Entry
from tests.unit.app.crashes import run

ANSWERED = Entry("request-1", "0198c1f0a1b27abc8000000000000000", 5, 3, "stable", 200, 0.12345)
REFUSED = Entry("request-1", None, None, 3, "canary", 404, 0.12345, "/nothing")


WRITE = """
import os, sys
from app.request_log import RequestLog
from tests.unit.app.test_app_request_log import ANSWERED, REFUSED
sys.stdout = None  # whose buffer would be written later
if len(sys.argv) > 1:
    os.dup2(os.open(sys.argv[1], os.O_WRONLY), 1)
log = RequestLog()
log.write(ANSWERED)
log.write(REFUSED)
if len(sys.argv) == 1:
    os._exit(0)
"""


def test_an_answer_is_one_json_line() -> None:
    """What an answer's line tells, field by field."""
    line = request_log.to_json(ANSWERED, 1_750_000_000.1239)
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "time": 1_750_000_000.124,
        "request_id": "request-1",
        "answer_id": "0198c1f0a1b27abc8000000000000000",
        "user": 5,
        "version": 3,
        "track": "stable",
        "status": 200,
        "milliseconds": 0.123,
    }


def test_a_refusal_is_one_json_line_with_its_path() -> None:
    """What the line of another status tells, field by field."""
    line = request_log.to_json(REFUSED, 1_750_000_000.1239)
    assert json.loads(line) == {
        "time": 1_750_000_000.124,
        "request_id": "request-1",
        "answer_id": None,
        "user": None,
        "version": 3,
        "track": "canary",
        "status": 404,
        "milliseconds": 0.123,
        "path": "/nothing",
    }


@given(path=st.text(st.characters() | st.sampled_from('"\\\n\r\t\0\u2028/{}'), max_size=300))
def test_any_path_gives_one_json_line(path: str) -> None:
    """Quotes, line ends, control and lone surrogate characters: one line of ASCII, the path's first 200 characters in it."""
    line = request_log.to_json(REFUSED._replace(path=path), 0.0)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["path"] == path[:200]


def test_a_long_path_is_cut() -> None:
    """A line stays short enough to be written in one piece: it has 200 characters of the path."""
    assert json.loads(request_log.to_json(REFUSED._replace(path="é" * 10_000), 0.0))["path"] == "é" * 200


@given(
    user=st.integers(0, 2**63 - 1),
    milliseconds=st.floats(0, 1e6),
    now=st.floats(0, 4e9),
    request_id=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
)
def test_any_answer_gives_one_json_line(user: int, milliseconds: float, now: float, request_id: str) -> None:
    """The line that is put together by hand is JSON for every value that an answer can have."""
    line = request_log.to_json(ANSWERED._replace(user=user, milliseconds=milliseconds, request_id=request_id), now)
    fields = json.loads(line)
    assert fields["user"] == user
    assert fields["request_id"] == request_id
    assert fields["milliseconds"] == pytest.approx(milliseconds, abs=0.001)
    assert fields["time"] == pytest.approx(now, abs=0.001)


def test_lines_are_written_at_once() -> None:
    """Each line is on standard output when `write` returns: a process that ends without a last word loses none."""
    first, second = run(WRITE).splitlines()
    assert json.loads(first)["user"] == 5
    assert json.loads(second)["path"] == "/nothing"


def test_a_log_that_cannot_be_written_costs_nothing_but_its_lines() -> None:
    """Standard output on a full disk: nothing is raised, the process ends well."""
    assert run(WRITE, "/dev/full") == ""


def test_a_log_that_nobody_reads_makes_no_answer_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that is full: what does not fit is lost and counted, each line that was taken is whole."""
    reader, writer = os.pipe()
    monkeypatch.setattr(request_log, "OUTPUT", writer)
    lost: list[None] = []
    log = request_log.RequestLog(lambda: lost.append(None))
    for _ in range(2000):
        log.write(ANSWERED)
    taken = os.read(reader, 1 << 20).decode().splitlines()
    assert 0 < len(taken) < 2000
    assert len(taken) + len(lost) == 2000
    assert {json.loads(line)["user"] for line in taken} == {5}
    assert os.get_blocking(writer)  # whoever else writes there is not concerned
