"""Hosts that read a topic through the whole pipeline, and the lines on it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.integration.checkout import ROOT, Checkout

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.broker.broker import Broker

SAMPLE = ROOT / "data" / "sample" / "movielog.log"
MANY = 260_000  # lines: three blocks
TABLES = ("clean_rating.csv", "open_watch.csv", "quarantine/rejected.jsonl", "repaired/repaired.jsonl")


def lines_of(count: int, seed: int) -> list[bytes]:
    """Lines as the stream has them, mostly watches, some damaged; no pair of partitions has the same."""
    lines = SAMPLE.read_bytes().splitlines()
    chance = random.Random(seed)
    return [chance.choice(lines) for _ in range(count)]


def checkout_for(broker: Broker, topic: str, library: str, base: Path) -> Checkout:
    """A host that reads the broker's topic."""
    base.mkdir(exist_ok=True)
    checkout = Checkout(base / "host", base)
    checkout.environment |= {"KAFKA_BOOTSTRAP_SERVERS": broker.address(), "KAFKA_TOPIC": topic, "KAFKA_CLIENT": library}
    return checkout


def collected(checkout: Checkout, *arguments: str, **environment: str) -> str:
    """A run that has to end with 0; what it printed."""
    ended = checkout.run(*arguments, **environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def tables_of(checkout: Checkout) -> dict[str, bytes]:
    """The tables and the lines kept aside, to the byte."""
    return {name: checkout.data(name).read_bytes() for name in TABLES}
