from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.errors import WrongUseError
from auto_deployment.common.settings import load_settings
from auto_deployment.ingestion.kafka.client import StreamError
from auto_deployment.ingestion.kafka.client_factory import open_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auto_deployment.common.settings import Settings

# kafka-python leaves the sockets of attempts that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

LIBRARIES = {"kafka-python": "kafka", "confluent-kafka": "confluent_kafka"}


@pytest.fixture(params=list(LIBRARIES))
def library(request: pytest.FixtureRequest) -> str:
    """The value of KAFKA_CLIENT."""
    return str(request.param)


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a port that is taken, but not listened on: every attempt to connect is refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def settings_of(server: str | None, library: str) -> Settings:
    """Settings of a broker that is not there."""
    return load_settings(_env_file=None, kafka_bootstrap_servers=server, kafka_client=library)


def test_without_a_broker_nothing_is_opened(library: str) -> None:
    """The error says which setting is missing, and what there is instead."""
    with pytest.raises(WrongUseError, match=r"KAFKA_BOOTSTRAP_SERVERS is not set.*--input"):
        open_client(settings_of(None, library))


def test_a_broker_that_is_away_is_reported_within_the_limit(
    library: str, nobody: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The error names the server, the limit and the reason; the console is left alone."""
    start = time.monotonic()
    with pytest.raises(
        StreamError, match=f"no answer from {nobody} within 1 s.*(?i:refused).*KAFKA_BOOTSTRAP_SERVERS"
    ) as caught:
        open_client(settings_of(nobody, library), connect=1.0)
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_listener_that_says_nothing_is_reported_within_the_limit(library: str) -> None:
    """Something takes the connection and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(StreamError, match=f"no answer from {address} within 1 s"):
            open_client(settings_of(address, library), connect=1.0)
    assert time.monotonic() - start < 10


def test_only_the_library_that_is_chosen_is_imported(library: str, nobody: str) -> None:
    """A machine that lacks the other one can read all the same."""
    program = (
        "import sys\n"
        "from auto_deployment.common.errors import RunError\n"
        "from auto_deployment.ingestion.kafka.client_factory import open_client\n"
        "from auto_deployment.common.settings import load_settings\n"
        f"settings = load_settings(_env_file=None, kafka_bootstrap_servers={nobody!r}, kafka_client={library!r})\n"
        f"before = [name for name in {list(LIBRARIES.values())} if name in sys.modules]\n"
        "try:\n"
        "    open_client(settings, connect=0.3)\n"
        "except RunError:\n"
        f"    sys.stdout.write(repr((before, [name for name in {list(LIBRARIES.values())} if name in sys.modules])))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == (repr(([], [LIBRARIES[library]])), "")
