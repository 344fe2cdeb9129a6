"""The simulator writes its stream to a real broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.simulator.__main__ import main
from scripts.simulator.sink import open_sink
from tests.integration.kafka.lines import read_all

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.broker.broker import Broker
    from tests.integration.kafka.conftest import MakeClient

STREAM = ("stream", "--users", "50", "--films", "40", "--lines", "20000", "--quiet")


def test_a_topic_gets_the_lines_that_a_file_gets(broker: Broker, topic: str, make_client: MakeClient, tmp_path: Path) -> None:
    """All of them have arrived when the command ends, in the same order."""
    path = tmp_path / "stream.log"
    assert main([*STREAM, "--output", str(path)]) == 0
    assert main([*STREAM, "--output", f"kafka://{broker.address()}/{topic}"]) == 0
    client = make_client(topic)
    assert client.end_offsets() == {0: 20_000}
    assert read_all(client, 0, 0, 20_000) == path.read_bytes().splitlines()


def test_a_writer_that_is_broken_off_has_delivered_what_it_wrote(broker: Broker, topic: str, make_client: MakeClient) -> None:
    """As far as the broker takes it within moments."""

    def broken_off() -> None:
        with open_sink(f"kafka://{broker.address()}/{topic}") as sink:
            for number in range(10):
                sink.write(f"line {number}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert read_all(make_client(topic), 0, 0, 10) == [f"line {number}".encode() for number in range(10)]
