"""A small stream whose users react to the lists that they get, without a service between them and the model."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from app.journal import Row
from app.model import load_serving
from app.recommender import Recommender
from app.routes import digest_of
from scripts.simulator.audience import PopularRecommender
from scripts.simulator.lines import StreamOptions
from scripts.simulator.service import outcome_of
from scripts.simulator.stream import stream_lines
from scripts.simulator.world import Draws, World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from scripts.simulator.lines import RequestOutcome

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
SERVER = "127.0.0.1:8082"
MILLISECONDS = 60
DAYS_A_VERSION = 2
ANSWERED = re.compile(r"([^,]+),(\d+),recommendation request [^,]+, status 200, result: (.+), \d+ ms")
_POPULAR = 31


class PublishedLists:
    """Answers with the lists of the last published model; with popular films before the first."""

    def __init__(self, world: World) -> None:
        self._popular = PopularRecommender(world, Draws(world.seed, _POPULAR))
        self._recommender: Recommender | None = None

    def publish(self, model: Path) -> None:
        """Answer from the artifact in this folder from now on."""
        self._recommender = Recommender(load_serving(model))

    def ask(self, user_id: int, /) -> RequestOutcome:
        """See `audience.RecommenderClient`."""
        if self._recommender is None:
            return self._popular.ask(user_id)
        return outcome_of(SERVER, 200, self._recommender.recommend(user_id).body.encode(), MILLISECONDS)


def answers_in(lines: Iterable[str], version: int) -> list[Row]:
    """The answers that the requests in stream lines got from a version, as rows of the database."""
    found = filter(None, map(ANSWERED.fullmatch, lines))
    return [_row(number, version, *match.groups()) for number, match in enumerate(found)]


def _row(number: int, version: int, stamp: str, user: str, films: str) -> Row:
    served_at = datetime.fromisoformat(stamp).replace(tzinfo=UTC) - timedelta(milliseconds=MILLISECONDS)
    return Row(
        answer_id=f"{version:06}-{number:08}",
        request_id=f"request-{version}-{number}",
        user_id=int(user),
        version_number=version,
        track="stable",
        served_at=round(served_at.timestamp() * 1e6),
        step="known",
        digest=digest_of(films.replace(", ", ",")),
    )


class Stream:
    """The lines of all versions, one after the other: the same seed gives the same lines to the same lists."""

    def __init__(self, seed: int, versions: int, lines: int, minutes_share: float) -> None:
        """`lines` are those of a version, of `DAYS_A_VERSION` days."""
        world = World.generate(seed, users=4000, films=800)
        self._size = lines
        self.lists = PublishedLists(world)
        options = StreamOptions(
            start=START, days=float(DAYS_A_VERSION * versions), lines=versions * lines, minutes_share=minutes_share
        )
        self._lines = stream_lines(world, options, client=self.lists)

    def next_version(self) -> list[str]:
        """The lines of the next version, without line ends."""
        return list(islice(self._lines, self._size))
