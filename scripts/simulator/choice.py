"""Which film a user picks, and what a recommendation does to it.

The weight of film f for user u is `popularity[f] * exp(PULL * taste[u] . direction[f])`; films that the user saw lately
weigh nothing. In a session that begins with a successful recommendation, the weight of each recommended film is
multiplied by `1 + uplift`, in that session only. One film is drawn in proportion to the weights.

So `uplift` is the planted effect. For a given user and history, the odds of a recommended film are `1 + uplift` times the odds
without the recommendation. Pooled over users and histories the ratio of the odds comes out nearer to 1. To recover `uplift`
exactly, take each session's own odds from `weights`.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, sqrt
from statistics import NormalDist, fmean, pstdev

import numpy as np

from scripts.simulator.world import Draws, Floats, Indexes, World

# One real month, ratings 1 to 5.
RATING_COUNTS = (35, 846, 7162, 10599, 2756)

QUALITY_WEIGHT, LENIENCY_WEIGHT, TASTE_WEIGHT = 0.45, 0.55, 1.5
# The share of a rating's variance that film, user and taste explain; the rest is chance.
EXPLAINED = 0.75

STAY_AT_FIRST, STAY_BY_JOY = 1.0, 1.2
SHORTEST_STAY = 0.02


def rating_bounds(counts: Iterable[int]) -> list[float]:
    """Cut a standard normal value so that the ratings come out in proportion to `counts`."""
    shares = list(counts)
    total = sum(shares)
    return [NormalDist().inv_cdf(sum(shares[:place]) / total) for place in range(1, len(shares))]


def rating_of(value: float, bounds: list[float]) -> int:
    """Turn a standard normal value into a rating from 1 on."""
    return 1 + sum(value >= bound for bound in bounds)


def share_watched(joy: float, luck: float, stop: float) -> float:
    """Say which share of a film is watched, by two uniform numbers: who likes it mostly sees it to the end."""
    stays = 1.0 / (1.0 + exp(-STAY_AT_FIRST - STAY_BY_JOY * joy))
    return 1.0 if luck < stays else SHORTEST_STAY + (1.0 - SHORTEST_STAY) * stop


@dataclass(frozen=True)
class Opinion:
    """Joy is how much a user likes a film: mean 0 and deviation 1 over the films that are picked."""

    world: World
    mean: float
    deviation: float

    @classmethod
    def calibrated(cls, world: World, picks: Iterable[tuple[int, int]]) -> "Opinion":
        """Set the scale from pairs of user and film as they are picked in this world."""
        plain = cls(world, 0.0, 1.0)
        joys = [plain.joy(user, film) for user, film in picks]
        return cls(world, fmean(joys), pstdev(joys) or 1.0)

    def joy(self, user: int, film: int) -> float:
        """Say how much the user likes the film, both by position."""
        films, users = self.world.films, self.world.users
        raw = (
            QUALITY_WEIGHT * films.quality[film]
            + LENIENCY_WEIGHT * users.leniency[user]
            + TASTE_WEIGHT * (films.directions[film] @ users.tastes[user])
        )
        return float((raw - self.mean) / self.deviation)

    def rating(self, joy: float, chance: float) -> int:
        """Give a rating of 1 to 5; `chance` is standard normal."""
        return rating_of(sqrt(EXPLAINED) * joy + sqrt(1.0 - EXPLAINED) * chance, _BOUNDS)


_BOUNDS = rating_bounds(RATING_COUNTS)


PULL = 2.0
TRIES_AT_ONCE = 64
ROUNDS = 32


@dataclass(frozen=True)
class Offer:
    """The films that a session was offered, by position, and how much more weight they get."""

    films: Sequence[int] = ()
    uplift: float = 0.0


NO_OFFER = Offer()


def weights(world: World, user: int, seen: Container[int] = (), offer: Offer = NO_OFFER) -> Floats:
    """Weigh every film for the user at this position, as the module's text says."""
    films = world.films
    weighed: Floats = films.popularity * np.exp(PULL * (films.directions @ world.users.tastes[user]))
    weighed[list(offer.films)] *= 1.0 + offer.uplift
    weighed[[film in seen for film in range(len(weighed))]] = 0.0
    return weighed


@dataclass(frozen=True)
class Chooser:
    """Draws films exactly in proportion to their weights, without weighing all of them.

    Films are proposed by popularity (and offer) and taken with the probability that the taste leaves. A unit direction bounds
    the pull by the length of the user's taste.
    """

    world: World
    draws: Draws
    _bounds: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Sum up the popularity once."""
        bounds = np.cumsum(self.world.films.popularity)
        bounds[-1] = 1.0
        object.__setattr__(self, "_bounds", bounds)

    def pick(self, user: int, seen: Container[int] = (), offer: Offer = NO_OFFER) -> int:
        """Draw a film for the user at this position; one who saw everything watches something again."""
        taste = self.world.users.tastes[user]
        farthest = float(np.linalg.norm(taste))
        for _ in range(ROUNDS):
            proposed = self._propose(offer)
            pull = PULL * (self.world.films.directions[proposed] @ taste - farthest)
            taken = proposed[self.draws.rng.random(len(proposed)) < np.exp(pull)]
            for film in taken.tolist():
                if film not in seen:
                    return int(film)
        return self._weigh_all(user, seen, offer)

    def _propose(self, offer: Offer) -> Indexes:
        points = self.draws.rng.random(TRIES_AT_ONCE)
        if not offer.films or not offer.uplift:
            return self._bounds.searchsorted(points, side="right")
        offered = np.asarray(offer.films)
        extra = np.cumsum(offer.uplift * self.world.films.popularity[offered])
        points *= 1.0 + extra[-1]
        proposed = self._bounds.searchsorted(points, side="right")
        beyond = points >= 1.0
        proposed[beyond] = offered[extra[:-1].searchsorted(points[beyond] - 1.0, side="right")]
        return proposed

    def _weigh_all(self, user: int, seen: Container[int], offer: Offer) -> int:
        bounds = np.cumsum(weights(self.world, user, seen, offer))
        if not bounds[-1]:
            bounds = np.cumsum(weights(self.world, user, (), offer))
        place = bounds.searchsorted(self.draws.uniform() * bounds[-1], side="right")
        return min(int(place), len(bounds) - 1)
