"""What users think of the films they watch: how long they stay, and which rating they give."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, sqrt
from statistics import NormalDist, fmean, pstdev

from scripts.simulator.world import World

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
