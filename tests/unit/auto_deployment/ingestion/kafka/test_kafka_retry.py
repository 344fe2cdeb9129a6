from __future__ import annotations

import logging
import socket
import time

import pytest

from auto_deployment.ingestion.kafka import retry as module
from auto_deployment.ingestion.kafka.client import OffsetGoneError, StreamError
from auto_deployment.ingestion.kafka.retry import Outage, check_advertised, not_authenticated, out_of_range


def wait_for_ever(outage: Outage) -> None:
    """Without progress."""
    while True:
        outage.wait("tea")


def test_patience_lasts_as_long_as_it_is_given() -> None:
    """Then the error names the servers, the time, what was waited for, and the last reason."""
    outage = Outage("a:1,b:2", patience=0.2)
    outage.note("connection reset")
    outage.note("connection refused")
    start = time.monotonic()
    message = r"^no answer from a:1,b:2 within 0\.2 s, waiting for tea \(connection refused\): is the broker up"
    with pytest.raises(StreamError, match=message):
        wait_for_ever(outage)
    assert 0.2 <= time.monotonic() - start < 1


def test_progress_makes_patience_new() -> None:
    """The time before it does not count."""
    outage = Outage("a:1", patience=0.2)
    for _ in range(4):
        outage.wait("tea")
        outage.end()


def test_time_in_which_nobody_waits_does_not_count() -> None:
    """A reader may work on a batch for longer than its patience lasts."""
    outage = Outage("a:1", patience=0.05)
    outage.end()
    time.sleep(0.1)
    outage.check("tea")


def test_a_refusal_is_what_the_error_says_in_the_end() -> None:
    """Unless the library said something else after it."""
    outage = Outage("a:1", patience=0)
    outage.refuse(not_authenticated("a:1", "bad password"))
    with pytest.raises(StreamError, match=r"authentication failed at a:1 \(bad password\)"):
        outage.check("tea")
    outage.note("connection refused")
    with pytest.raises(StreamError, match="no answer from a:1"):
        outage.check("tea")


def test_a_long_wait_is_reported_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning for each outage, not for each attempt."""
    monkeypatch.setattr(module, "WARN_AFTER_SECONDS", 0)
    outage = Outage("a:1", patience=30)
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            outage.check("tea")
        outage.end()
        outage.check("coffee")
    assert [record.message for record in caplog.records] == [
        "a:1: still waiting for tea, up to 30 s",
        "a:1: still waiting for coffee, up to 30 s",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.parametrize(("offset", "kind"), [(4, OffsetGoneError), (5, StreamError), (6, StreamError)])
def test_an_offset_out_of_range_is_gone_or_not_there_yet(offset: int, kind: type[Exception]) -> None:
    """Before the first one it was removed; after the end it never was."""
    assert isinstance(out_of_range("movielog4", 0, offset, first=5), kind)


@pytest.mark.parametrize("host", ["127.0.0.1", "broker.internal.example", "a..b"])
def test_a_broker_that_advertises_an_address_out_of_reach_is_named_with_it(host: str) -> None:
    """After the limit; a broker that advertises the address that was asked needs no second connection."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        check_advertised(f"a:1,{host}:{port}", [(host, port)], 0.2)
        start = time.monotonic()
        with pytest.raises(StreamError, match=rf"^a:1 answers, but .*: {host}:{port} \(.*advertised\.listeners"):
            check_advertised("a:1", [(host, port)], 0.2)
    assert time.monotonic() - start < 2


def test_some_brokers_out_of_reach_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Each is named: partitions that it leads cannot be read."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        near, far = (("127.0.0.1", each.getsockname()[1]) for each in (listening, held))
        check_advertised("a:1", [near], 5.0)
        assert not caplog.records
        for servers, brokers in (("a:1", [near, far]), ("127.0.0.1:1", [("127.0.0.1", 1), far])):
            caplog.clear()
            check_advertised(servers, brokers, 0.3)
            (record,) = caplog.records
            assert f"advertise: 127.0.0.1:{far[1]} (Connection refused): " in record.getMessage()
