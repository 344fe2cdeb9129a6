"""A real broker for a session, topics for a test, and clients of either library."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from auto_deployment.ingestion.kafka.client_factory import open_client
from scripts.broker.broker import Broker
from scripts.broker.jars import MissingToolError, kafka_libs
from tests.integration.kafka.lines import LINES, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auto_deployment.ingestion.kafka.client import Client


HERE = Path(__file__).parent
# kafka-python leaves the sockets of attempts that failed to the garbage collector.
LEFT_SOCKETS = pytest.mark.filterwarnings(r"ignore:unclosed <(ssl\.SSLSocket|socket\.socket):ResourceWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let no test of this folder fail for a socket that the library left."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(LEFT_SOCKETS)


class MakeClient(Protocol):
    """Opens a client of a topic; it is closed with the test."""

    def __call__(self, topic: str, patience: float = 30.0, **security: object) -> Client:
        """A client of `topic`."""
        ...


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that all tests of a worker share: a test that ends it takes `mortal`, which starts it again."""
    try:
        libs = kafka_libs()
    except MissingToolError as error:
        pytest.skip(str(error))
    made = Broker(tmp_path_factory.mktemp("kafka"), libs)
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def mortal(broker: Broker) -> Iterator[Broker]:
    """The broker, to be killed or frozen: afterwards it runs again."""
    yield broker
    if broker.is_running():
        broker.thaw()
    else:
        broker.start()


@pytest.fixture
def topic(broker: Broker) -> str:
    """A topic of the test's own, with one partition."""
    name = new_name()
    broker.create_topic(name)
    return name


@pytest.fixture(scope="session")
def lasting_topic(broker: Broker) -> str:
    """A topic that holds `LINES` in its one partition, for tests that only read."""
    name = new_name()
    broker.create_topic(name)
    broker.produce(name, LINES)
    return name


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def library(request: pytest.FixtureRequest) -> str:
    """The value of KAFKA_CLIENT."""
    return str(request.param)


@pytest.fixture
def make_client(broker: Broker, library: str) -> Iterator[MakeClient]:
    """See `MakeClient`; of `library`."""
    with ExitStack() as opened:

        def make(topic: str, patience: float = 30.0, **security: object) -> Client:
            return opened.enter_context(closing(open_client(settings_for(broker, library, topic, **security), patience)))

        yield make


def new_name() -> str:
    """A name that no other topic has."""
    return f"movielog-{secrets.token_hex(4)}"
