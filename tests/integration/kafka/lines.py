"""What the tests put on a topic, and the settings that a client reads it with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from auto_deployment.common.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auto_deployment.common.settings import Settings
    from auto_deployment.ingestion.kafka.client import Client
    from scripts.broker.broker import Broker

TOPIC_OF_LINES = "movielog4"


def stream_lines(count: int, first: int = 0) -> Iterator[bytes]:
    """Watch lines of the stream's form and length, no two alike."""
    for at in range(first, first + count):
        second, user, minute = at % 60, 100_000 + at * 7919 % 900_000, at % 180
        yield f"2023-10-29T07:20:{second:02},{user},GET /data/m/the+film+with+number+{at}+1994/{minute}.mpg".encode()


LINES = list(stream_lines(3_000))


def settings_for(broker: Broker, client: str, topic: str = TOPIC_OF_LINES, **security: object) -> Settings:
    """Settings of a client of `broker`; `security` are those of `KAFKA_SECURITY_*`, protocol and all, without that prefix.

    The protocol chooses the listener, unless `at` names another one.
    """
    address = broker.address(str(security.pop("at", security.get("protocol", "PLAINTEXT"))))
    secured = {f"kafka_security_{name}": value for name, value in security.items()}
    given = {"kafka_bootstrap_servers": address, "kafka_topic": topic, "kafka_client": client, **secured}
    return load_settings(_env_file=None, **given)


def read_all(client: Client, partition: int, start: int, stop: int) -> list[bytes]:
    """The values that a read gives."""
    return [value for batch in client.read(partition, start, stop) for value in batch.values]


def wait_for_end(client: Client, end: int) -> None:
    """Wait until partition 0 ends there: the markers that end a transaction are written after it has been ended."""
    until = time.monotonic() + 20
    while client.end_offsets()[0] != end:
        assert time.monotonic() < until, f"the end is {client.end_offsets()}, not {end}"
        time.sleep(0.05)
