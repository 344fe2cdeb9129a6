"""The film service of the tour, played by the simulator: its stream on a topic, and its API of users and films."""

from __future__ import annotations

from itertools import islice
from threading import Thread
from typing import TYPE_CHECKING

from scripts.simulator.api import FilmApi, RateLimit
from scripts.simulator.arguments import SAMPLE_ARGUMENTS, read_arguments, stream_options
from scripts.simulator.kafka_sink import open_kafka
from scripts.simulator.stream import stream_lines
from scripts.simulator.world import World

if TYPE_CHECKING:
    from pathlib import Path

TOPIC = "movielog"
# The world of the shipped sample, whose users version 0 knows. One session in ten begins with a request to the recommender.
LONGER = ("--ratings", "40000", "--days", "120", "--request-share", "0.1")
SHOWN_EVERY = 1_000


class FilmService:
    """The stream of the simulator's users, who visit the recommender at `recommender`, and the API of `/user` and `/movie`.

    The lines continue from one `send` to the next.
    """

    def __init__(self, servers: str, recommender: str) -> None:
        read = read_arguments([*SAMPLE_ARGUMENTS, *LONGER, "--recommender", recommender])
        self._world = World.generate(read.seed, read.users, read.films, read.skew)
        self._lines = stream_lines(self._world, stream_options(read))
        self._servers = servers
        self._api = FilmApi(self._world, "127.0.0.1", 0, RateLimit(None))
        self.api_url = f"http://127.0.0.1:{self._api.server_port}"

    def start(self) -> None:
        """Answer to the API's requests from now on."""
        Thread(target=self._api.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._api.shutdown()
        self._api.server_close()

    def send(self, count: int) -> None:
        """Write the next lines to the topic. Raises OutputError."""
        with open_kafka(self._servers, TOPIC) as sink:
            for line in islice(self._lines, count):
                sink.write(line)

    @property
    def user(self) -> int:
        """A user of the service."""
        return int(self._world.users.ids[0])

    def write_users(self, path: Path) -> None:
        """Write the ids of all users to a file, one a line."""
        path.write_text("".join(f"{user}\n" for user in self._world.users.ids))
