from __future__ import annotations

import socket

import pytest

from scripts.simulator import kafka_sink
from scripts.simulator.__main__ import main
from scripts.simulator.errors import InputError
from scripts.simulator.sink import kafka_address

STREAM = ("stream", "--users", "50", "--films", "40", "--lines", "5", "--quiet")


def test_an_address_has_servers_and_a_topic() -> None:
    """Several servers are joined by commas."""
    assert kafka_address("kafka://a:9092/movielog4") == ("a:9092", "movielog4")
    assert kafka_address("kafka://a:1,10.0.0.1:2/movie.log_4-x") == ("a:1,10.0.0.1:2", "movie.log_4-x")


@pytest.mark.parametrize("address", ["kafka://", "kafka://a:1", "kafka://a:1/", "kafka://a/t", "kafka://a:1/t/u", "kafka:///t"])
def test_an_address_that_lacks_a_part_is_wrong_use(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with status 2, and says how to give one."""
    with pytest.raises(InputError, match="give it as kafka://HOST:PORT/TOPIC"):
        kafka_address(address)
    with pytest.raises(SystemExit) as caught:
        main([*STREAM, "--output", address])
    assert caught.value.code == 2
    assert "give it as kafka://HOST:PORT/TOPIC" in capsys.readouterr().err


def test_a_broker_that_is_away_fails_the_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """With one line that names it."""
    monkeypatch.setattr(kafka_sink, "CONNECT_SECONDS", 0.5)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"kafka://127.0.0.1:{held.getsockname()[1]}/movielog4"
        assert main([*STREAM, "--output", address]) == 1
    error = capfd.readouterr().err
    assert error.startswith(f"simulate: cannot write {address}: ")
    assert error.count("\n") == 1
