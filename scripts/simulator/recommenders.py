"""Who answers the recommendation requests of the stream."""

from dataclasses import dataclass
from math import exp
from typing import Protocol

from scripts.simulator.draws import Draws
from scripts.simulator.lines import Answer
from scripts.simulator.service import timed_out
from scripts.simulator.world import World

LIST_LENGTH = 20
FAILURE_SHARE = 0.02
TIMEOUT_MS = 600
TYPICAL_MS, SLOWNESS_SPREAD = 60.0, 0.5


class Recommender(Protocol):
    """Answers one request for one user, also when it fails. A `service.Client` is one."""

    def ask(self, user_id: int, /) -> Answer:
        """Give the answer as the film service will log it."""


@dataclass(frozen=True)
class PopularRecommender:
    """Offers the most popular films to everybody, and runs into a time-out now and then."""

    world: World
    draws: Draws
    server: str = "127.0.0.1:8082"

    def ask(self, _user_id: int, /) -> Answer:
        """Give the same list to any user."""
        milliseconds = TYPICAL_MS * exp(SLOWNESS_SPREAD * self.draws.normal())
        if self.draws.uniform() < FAILURE_SHARE:
            return timed_out(self.server, TIMEOUT_MS, TIMEOUT_MS + milliseconds / 10)
        films = tuple(self.world.films.ids[:LIST_LENGTH])
        return Answer(self.server, 200, ", ".join(films), milliseconds, films)
