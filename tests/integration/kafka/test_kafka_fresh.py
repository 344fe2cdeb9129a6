"""Freshness follows a topic: the lines after the version's data, through outages of the broker and of the process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from app.events import Watch, parse, to_line
from app.fresh import topic as topic_module
from app.fresh.follow import SourceError
from app.fresh.list_model import ListModel
from app.fresh.overlay import Reader, folder_of, read_status, unpack
from app.fresh.state import State
from app.fresh.topic import TopicSource
from app.fresh.writer import KEEP_SECONDS, LOCK, only_one
from app.model import read_metadata
from app.settings import TopicSettings
from scripts.ports import reserve
from tests.integration.conftest import wait_until
from tests.integration.faketime import STEADY, NoFaketimeError, environment_of, set_clock
from tests.integration.kafka.conftest import new_name
from tests.integration.kafka.lines import LINES
from tests.unit.app.crashes import ROOT, rounds
from tests.unit.app.fresh.versions import FULL, facts, save_fresh, watched
from tests.unit.app.samples import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from app.fresh.follow import Source
    from scripts.broker.broker import Broker


class MakeSource(Protocol):
    """Opens a source of a topic; it is closed with the test. `mark` is that of partition 0."""

    def __call__(
        self, topic: str, offsets: Mapping[str, int] | None = None, since: float = 0.0, mark: int | None = None
    ) -> TopicSource:
        """A source of `topic`."""
        ...


@pytest.fixture
def source(broker: Broker) -> Iterator[MakeSource]:
    """See `MakeSource`."""
    with ExitStack() as opened:

        def make(
            topic: str, offsets: Mapping[str, int] | None = None, since: float = 0.0, mark: int | None = None
        ) -> TopicSource:
            settings = TopicSettings(kafka_bootstrap_servers=broker.address(), kafka_topic=topic)
            made = TopicSource(settings, offsets or {}, since, {} if mark is None else {f"{topic}/0": mark})
            return opened.enter_context(closing(made))

        yield make


def take(one: Source, count: int) -> list[bytes]:
    """The next `count` lines, through errors of the source."""
    found: list[bytes] = []

    def have_come() -> bool:
        try:
            found.extend(line.encode("utf-8", "surrogateescape") for line in one.poll())
        except SourceError:
            return False
        return len(found) >= count

    wait_until(have_come, 60)
    return found


def test_the_lines_after_the_versions_data_come_once_and_in_order(source: MakeSource, lasting_topic: str) -> None:
    """From the version's offset, and from a mark where there is one. Then the source knows that it has all."""
    before = time.time()
    one = source(lasting_topic, {f"{lasting_topic}/0": 100, "another/0": 5})
    assert take(one, len(LINES) - 100) == LINES[100:]
    wait_until(lambda: one.poll() == [] and one.as_of >= before)
    assert one.marks == {f"{lasting_topic}/0": len(LINES)}
    assert one.as_of <= time.time()
    assert take(source(lasting_topic, {f"{lasting_topic}/0": 100}, mark=2_500), 500) == LINES[2_500:]


def test_a_version_of_files_begins_at_the_time_of_its_data(broker: Broker, source: MakeSource, topic: str) -> None:
    """What was on the topic before is not new of anybody."""
    broker.produce(topic, LINES[:50])
    time.sleep(0.01)
    since = time.time()
    time.sleep(0.01)
    broker.produce(topic, LINES[50:60])
    assert take(source(topic, since=since), 10) == LINES[50:60]
    assert source(topic, since=time.time() + 60).poll() == []


def test_bytes_that_are_no_text_and_missing_values_are_lines(broker: Broker, source: MakeSource, topic: str) -> None:
    """They are damage, which is no reason to stop."""
    broker.produce(topic, [b"\xff\xfe", None, b"ok"])
    assert take(source(topic), 3) == [b"\xff\xfe", b"", b"ok"]


def test_what_retention_removed_is_counted(broker: Broker, source: MakeSource, topic: str) -> None:
    """The source begins with what there is."""
    broker.produce(topic, LINES[:1_000])
    broker.delete_records(topic, 0, before=900)
    one = source(topic, {f"{topic}/0": 200})
    assert take(one, 100) == LINES[900:1_000]
    assert one.lost == 700


def test_a_topic_that_is_new_or_cut_is_read_from_the_time_of_the_data(broker: Broker, source: MakeSource, topic: str) -> None:
    """Its offsets are below those of the version's data. Lines that were read before the cut do not count again."""
    broker.produce(topic, LINES[:10])
    time.sleep(0.01)
    since = time.time()
    time.sleep(0.01)
    broker.produce(topic, LINES[10:20])
    one = source(topic, {f"{topic}/0": 5_000}, since=since)
    assert take(one, 10) == LINES[10:20]
    assert one.lost == 0


@pytest.mark.parametrize("error", [KeyError, vars(topic_module)["KafkaError"]])
def test_a_failed_request_for_the_ends_drops_no_line(
    broker: Broker, source: MakeSource, topic: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the library fails for a partition without a leader: the others are read."""
    monkeypatch.setattr("app.fresh.topic.ENDS_SECONDS", 0.0)
    monkeypatch.setattr("app.fresh.topic.MOST_LINES", 100)
    broker.produce(topic, LINES[:1_000])
    one, calls, consumers = source(topic), iter(range(10_000)), vars(topic_module)["KafkaConsumer"]
    real = consumers.end_offsets

    def end_offsets(consumer: object, *arguments: object, **options: object) -> object:
        if next(calls) % 3 == 2:
            raise error("no answer")
        return real(consumer, *arguments, **options)

    monkeypatch.setattr(consumers, "end_offsets", end_offsets)
    assert take(one, 1_000) == LINES[:1_000]


def test_attempts_to_connect_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Kafka is away for long, threads and open sockets would add up."""
    monkeypatch.setattr("app.fresh.topic.CONNECT_MS", 200)
    (port,) = reserve()
    one = TopicSource(TopicSettings(kafka_bootstrap_servers=f"127.0.0.1:{port}"), {}, 0.0, {})

    def fail() -> tuple[int, int]:
        with pytest.raises(SourceError, match=f"127.0.0.1:{port}"):
            one.poll()
        return threading.active_count(), len([*Path("/proc/self/fd").iterdir()])

    before = fail()
    for _ in range(5):
        fail()
    wait_until(lambda: fail() <= before)


def test_a_new_partition_is_read_from_its_start(
    broker: Broker, source: MakeSource, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the source runs, and at the next start."""
    monkeypatch.setattr("app.fresh.topic.PARTITIONS_SECONDS", 0.5)
    broker.produce(topic, LINES[:10])
    one = source(topic, {f"{topic}/0": 4})
    assert take(one, 6) == LINES[4:10]
    broker.add_partitions(topic, 2)
    broker.produce(topic, LINES[10:20], partition=1)
    assert take(one, 10) == LINES[10:20]
    assert take(source(topic, {f"{topic}/0": 10}), 10) == LINES[10:20]


def test_a_broker_without_the_topic_is_an_error_that_names_the_setting(broker: Broker, source: MakeSource) -> None:
    """And the topic may come later."""
    name = new_name()
    one = source(name)
    with pytest.raises(SourceError, match=f"{broker.address()} has no topic {name}: set KAFKA_TOPIC"):
        one.poll()
    broker.create_topic(name)
    broker.produce(name, LINES[:5])
    assert take(one, 5) == LINES[:5]


def test_nothing_is_lost_or_doubled_when_the_broker_dies(mortal: Broker, source: MakeSource, topic: str) -> None:
    """While it is away the source says so, and knows nothing newer than before."""
    one = source(topic)
    mortal.produce(topic, LINES[:100])
    assert take(one, 100) == LINES[:100]
    mortal.kill()

    def fails() -> bool:
        try:
            one.poll()
        except SourceError as error:
            return mortal.address() in str(error)
        return False

    wait_until(fails, 60)
    known = one.as_of
    mortal.start()
    mortal.produce(topic, LINES[100:200])
    assert take(one, 100) == LINES[100:200]
    wait_until(lambda: one.poll() == [] and one.as_of > known)


class Place:
    """A version, and the process that follows a topic for it."""

    def __init__(self, folder: Path, broker: Broker, topic: str, offset: int) -> None:
        whole: dict[str, Any] = {
            "fresh": {**facts(), "offsets": {f"{topic}/0": offset}},
            "data_creation": "2026-11-29T12:00:00Z",
        }
        self.model = save_fresh(folder / "model", **whole)
        self.overlay = folder_of(folder / "fresh", self.model, VERSION)
        self.reader = Reader(self.overlay)
        self._environment = {
            **os.environ,
            "MODEL_DIR": str(self.model),
            "FRESH_DIR": str(folder / "fresh"),
            "KAFKA_BOOTSTRAP_SERVERS": broker.address(),
            "KAFKA_TOPIC": topic,
            "CHECKPOINT_SECONDS": "0.5",
            "HEARTBEAT_FILE": str(folder / "heartbeat"),
            "PYTHONPATH": str(ROOT),
        }

    @contextmanager
    def process(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """The process, killed at the end where it still runs."""
        command, whole = [sys.executable, "-m", "app.fresh"], {**self._environment, **environment}
        with subprocess.Popen(command, env=whole, cwd=ROOT) as child:
            try:
                yield child
            finally:
                child.kill()

    def minutes(self) -> int:
        """All minutes of the user that the overlay has."""
        content = self.reader.find(FULL)
        return 0 if content is None else sum(unpack(content).minutes)


@pytest.mark.crash
def test_a_process_that_is_killed_at_any_moment_counts_each_line_once(
    broker: Broker, topic: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Also the lines that come while it is away."""
    broker.produce(topic, [b"an older line"] * 3)
    place = Place(tmp_path, broker, topic, offset=3)
    assert read_metadata(place.model)["fresh"]["offsets"] == {f"{topic}/0": 3}
    sent = 0
    for chance in rounds(request, 4):
        with place.process():
            end = time.monotonic() + chance.uniform(1.0, 4.0)
            while time.monotonic() < end:
                broker.produce(topic, [to_line(watched(FULL, sent % 40)).encode()])
                sent += 1
                time.sleep(0.05)
        broker.produce(topic, [to_line(watched(FULL, sent % 40)).encode()])
        sent += 1
    with place.process() as process:
        wait_until(lambda: place.minutes() == sent, 30)
        now = time.time()
        wait_until(lambda: read_status(place.overlay).as_of >= now, 30)
        process.terminate()
        assert process.wait(20) == 0
    assert read_status(place.overlay).users == 1


DAY = 86_400.0
HOUR = DAY / 24


@pytest.mark.parametrize("jumps", [(HOUR, 0.0, -HOUR), (DAY, -DAY, 0.0), (-400 * DAY, 400 * DAY)])
def test_a_clock_that_jumps_costs_no_freshness(broker: Broker, topic: str, tmp_path: Path, jumps: tuple[float, ...]) -> None:
    """Each line counts once, within seconds, and the status follows the clock. So does a process that starts after a jump."""
    clock, place, sent = tmp_path / "clock", Place(tmp_path, broker, topic, offset=0), 0

    def add(jump: float) -> None:
        nonlocal sent
        set_clock(clock, jump / DAY)
        broker.produce(topic, [to_line(watched(FULL, sent % 40)).encode()])
        sent += 1
        wait_until(lambda: place.minutes() == sent, 30)
        wait_until(lambda: abs(read_status(place.overlay).as_of - jump - time.time()) < HOUR / 60, 30)

    set_clock(clock, 0)
    for _ in range(2):
        with place.process(**_environment_of(clock)):
            for jump in (0.0, *jumps):
                add(jump)
                add(jump)
    assert read_status(place.overlay).lost == 0


def test_folders_that_a_jump_makes_old_are_removed_unless_they_are_in_use(broker: Broker, topic: str, tmp_path: Path) -> None:
    """A version that comes back afterwards begins anew, from where its data end."""
    clock, place = tmp_path / "clock", Place(tmp_path, broker, topic, offset=0)
    used, left = (place.overlay.with_name(name) for name in ("1-used", "1-left"))
    for folder in (used, left):
        folder.mkdir(parents=True)
        (folder / LOCK).touch()
    broker.produce(topic, [to_line(watched(FULL, 1)).encode()])
    set_clock(clock, 0)
    with only_one(used), place.process(**_environment_of(clock)):
        wait_until(lambda: place.minutes() == 1, 30)
        assert left.exists()
        set_clock(clock, KEEP_SECONDS / DAY + 1)
        wait_until(lambda: not left.exists(), 30)
        broker.produce(topic, [to_line(watched(FULL, 1)).encode()])
        wait_until(lambda: place.minutes() == 2, 30)
    assert used.exists()


def _environment_of(clock: Path) -> dict[str, str]:
    try:
        return {**environment_of(clock), **STEADY}
    except NoFaketimeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("stamp", ["1999-01-01T00:00:00", "2026-11-29T12:00:00", "2999-12-31T23:59:59"])
def test_a_line_counts_whatever_its_time(broker: Broker, source: MakeSource, topic: str, tmp_path: Path, stamp: str) -> None:
    """The order on the topic counts. Neither the time in a line does, nor that of its message."""
    model = ListModel(save_fresh(tmp_path / "model"))
    line = to_line(watched(FULL, 3)._replace(time=stamp)).encode()
    broker.produce(topic, [line])
    producer = broker.producer()
    for seconds in (1, int(time.time()) + 3_000):  # a broker refuses what is more than an hour ahead
        producer.produce(topic, line, partition=0, timestamp=seconds * 1000)
    assert producer.flush(60) == 0
    state, now = State(model), time.time()
    one = source(topic, {f"{topic}/0": 0})
    for each in take(one, 3):
        event = parse(each.decode(), model.rules)
        assert isinstance(event, Watch)
        state.apply(event)
    assert unpack(state.records()[FULL])[:2] == ((3,), (3,))
    wait_until(lambda: one.poll() == [] and now <= one.as_of <= time.time())
