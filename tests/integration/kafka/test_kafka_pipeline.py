"""The pipeline on a real broker: what the stream holds is in the tables, each line once, whatever is killed."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.integration.kafka.conftest import new_name
from tests.integration.kafka.hosts import MANY, TABLES, checkout_for, collected, lines_of

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.broker.broker import Broker

pytestmark = pytest.mark.slow

KILLS = 3
RATING = re.compile(r"(\S{16,19}),(\d+),GET /rate/([a-z0-9+._*-]+\+(?:\d{4})?)=([1-5])")
WATCH = re.compile(r"(\S{16,19}),(\d+),GET /data/m/([a-z0-9+._*-]+\+(?:\d{4})?)/\d+\.mpg")


def independent(lines: list[bytes]) -> tuple[Counter[tuple[str, ...]], Counter[tuple[str, str]]]:
    """What another reader makes of undamaged lines: ratings as rows, watched minutes by pair."""
    ratings: Counter[tuple[str, ...]] = Counter()
    minutes: Counter[tuple[str, str]] = Counter()
    for line in (raw.decode() for raw in lines):
        rated, watched = RATING.fullmatch(line), WATCH.fullmatch(line)
        if rated and ":" in rated[1]:
            ratings[rated[2], rated[3], rated[4]] += 1
        elif watched:
            minutes[watched[2], watched[3]] += 1
    return ratings, minutes


def test_the_tables_hold_what_an_independent_reader_makes_of_the_stream(broker: Broker, library: str, tmp_path: Path) -> None:
    """Two partitions, unseen lines: the same ratings, and the same minutes by pair; every line is accounted for."""
    topic, parts = new_name(), [lines_of(9_000, 1), lines_of(7_000, 2)]
    broker.create_topic(topic, 2)
    for partition, lines in enumerate(parts):
        broker.produce(topic, lines, partition)
    checkout = checkout_for(broker, topic, library, tmp_path / "one")
    collected(checkout)
    ratings, minutes = independent(parts[0] + parts[1])
    rated = (line.split(",") for line in checkout.data("clean_rating.csv").read_text().splitlines()[1:])
    rows: Counter[tuple[str, ...]] = Counter((user, film, stars) for user, film, stars, _ in rated)
    watches = Counter({(str(user), film): count for (user, film), count in checkout.minutes().items()})
    lines = json.loads(checkout.data("versioning/report_1.json").read_bytes())["lines"]
    assert lines["in"] == 16_000 == sum(lines["kinds"].values()) + sum(lines["rejected"].values())
    # A repaired line is one that a strict reader leaves out.
    assert (rows - ratings).total() <= lines["repaired"]
    assert not ratings - rows
    assert not minutes - watches
    assert (watches - minutes).total() <= lines["repaired"]
    assert json.loads(checkout.data("versioning/offsets.json").read_bytes())["marks"] == {
        f"{topic}/0": {"offset": 9_000},
        f"{topic}/1": {"offset": 7_000},
    }


@pytest.mark.crash
def test_kills_while_collecting_change_no_byte(
    broker: Broker, library: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Killed with -9 at random moments: tables and lines kept aside equal those of an undisturbed run, byte for byte."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    topic = new_name()
    broker.create_topic(topic, 2)
    broker.produce(topic, lines_of(MANY, seed), 0)
    broker.produce(topic, lines_of(MANY // 2, seed + 1), 1)
    calm = checkout_for(broker, topic, library, tmp_path / "calm")
    started = time.monotonic()
    collected(calm, "--collect-only")
    seconds = time.monotonic() - started
    until = time.monotonic() + 3600 * request.config.getoption("--soak-hours")
    rounds = 0
    while rounds == 0 or time.monotonic() < until:
        killed = checkout_for(broker, topic, library, tmp_path / f"killed-{rounds}")
        kills = sum(killed.kill_at(chance.uniform(0.3, 0.8) * seconds, "--collect-only") for _ in range(KILLS))
        collected(killed, "--collect-only")
        for name in TABLES:
            assert killed.data(name).read_bytes() == calm.data(name).read_bytes(), name
        rounds += 1
    print(f"{rounds} rounds, {kills} kills in the last")


def test_a_partition_that_is_added_is_read_from_its_start(broker: Broker, library: str, tmp_path: Path) -> None:
    """A second partition appears between two runs: its lines are all taken."""
    topic = new_name()
    broker.create_topic(topic)
    broker.produce(topic, lines_of(2_000, 5))
    checkout = checkout_for(broker, topic, library, tmp_path / "one")
    collected(checkout, "--collect-only")
    broker.add_partitions(topic, 2)
    broker.produce(topic, lines_of(1_000, 6), 1)
    collected(checkout, "--collect-only")
    assert json.loads(checkout.data("collected.json").read_bytes())["counts"]["lines"] == 3_000


def test_what_retention_removed_is_reported_with_its_size(broker: Broker, library: str, tmp_path: Path) -> None:
    """Offsets are gone before they were read: the gap is on record, the rest is taken."""
    topic = new_name()
    broker.create_topic(topic)
    broker.produce(topic, lines_of(500, 7))
    checkout = checkout_for(broker, topic, library, tmp_path / "one")
    collected(checkout, "--collect-only")
    broker.produce(topic, lines_of(1_000, 8))
    broker.delete_records(topic, 0, 900)
    ended = checkout.run("--collect-only")
    assert ended.returncode == 0
    assert "500 to 899" in ended.stderr
    record = json.loads(checkout.data("collected.json").read_bytes())
    assert record["gaps"] == [{"source": f"{topic}/0", "start": 500, "stop": 900, "lines": 400}]
    assert record["counts"]["lines"] == 1_100


@pytest.mark.parametrize(("begin", "lines"), [("earliest", 900), ("latest", 0), ("minutes:60", 900)])
def test_the_first_run_starts_where_the_setting_says(broker: Broker, tmp_path: Path, begin: str, lines: int) -> None:
    """COLLECT_FROM on the very first run; what comes later is taken in any case."""
    topic = new_name()
    broker.create_topic(topic)
    broker.produce(topic, lines_of(900, 9))
    checkout = checkout_for(broker, topic, "confluent-kafka", tmp_path / "one")
    collected(checkout, "--collect-only", COLLECT_FROM=begin)
    broker.produce(topic, lines_of(100, 10))
    collected(checkout, "--collect-only", COLLECT_FROM=begin)
    assert json.loads(checkout.data("collected.json").read_bytes())["counts"]["lines"] == lines + 100


def test_a_cap_ends_at_a_blocks_edge_and_says_what_is_left(broker: Broker, tmp_path: Path) -> None:
    """COLLECT_MINUTES ends the collection after a block. The state has the lag, and the next run collects the rest."""
    topic = new_name()
    broker.create_topic(topic)
    broker.produce(topic, lines_of(MANY, 11))
    checkout = checkout_for(broker, topic, "confluent-kafka", tmp_path / "one")
    output = collected(checkout, "--collect-only", COLLECT_MINUTES="0.000001")
    assert "160,000 lines of the stream are left unread" in output
    record = json.loads(checkout.data("collected.json").read_bytes())
    assert record["marks"][f"{topic}/0"] == {"offset": 100_000}
    assert record["lags"] == [160_000]
    collected(checkout, "--collect-only")
    assert json.loads(checkout.data("collected.json").read_bytes())["counts"]["lines"] == MANY


def test_an_empty_topic_makes_no_version_and_a_missing_one_is_named(broker: Broker, library: str, tmp_path: Path) -> None:
    """Nothing new versions nothing, status 0; no such topic: its name, status 1, nothing created."""
    topic = new_name()
    broker.create_topic(topic)
    checkout = checkout_for(broker, topic, library, tmp_path / "one")
    assert "nothing new" in collected(checkout)
    assert checkout.data("version.txt").read_text() == "0\n"
    missing = checkout.run(KAFKA_TOPIC="no-such-topic")
    assert missing.returncode == 1
    assert "no-such-topic" in missing.stderr
    assert "no-such-topic" not in broker.topics()
