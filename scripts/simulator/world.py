"""The seeded world: films, users and their tastes. Pure data, the same for the same seed and sizes."""

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Self

import numpy as np

from scripts.simulator.draws import Draws, Floats, Indexes
from scripts.simulator.titles import distinct_films

TASTE_DIMENSIONS = 3
HIGHEST_USER_ID = 1_000_000
NEWCOMER_SHARE = 0.1
ACTIVITY_SPREAD = 0.8
SERIES_SHARE = 0.002
LONGEST_RUNTIME = 1215

# Ids and names as the films of the service carry them.
GENRES = (
    (18, "Drama"),
    (35, "Comedy"),
    (53, "Thriller"),
    (28, "Action"),
    (10749, "Romance"),
    (80, "Crime"),
    (12, "Adventure"),
    (27, "Horror"),
    (878, "Science Fiction"),
    (14, "Fantasy"),
    (9648, "Mystery"),
    (10751, "Family"),
    (99, "Documentary"),
    (36, "History"),
    (16, "Animation"),
    (10752, "War"),
    (10402, "Music"),
    (37, "Western"),
)
GENRE_PULL = 1.6

_FILMS, _GENRES, _USERS = range(3)


@dataclass(frozen=True)
class Films:
    """The catalogue; position 0 is the most popular film. `directions` are unit vectors, one a film."""

    ids: list[str]
    titles: list[str]
    years: list[int]
    genres: list[tuple[int, ...]]
    runtimes: list[int]
    popularity: Floats
    quality: Floats
    directions: Floats

    @cached_property
    def places(self) -> dict[str, int]:
        """Map a film's id to its position."""
        return {name: place for place, name in enumerate(self.ids)}


@dataclass(frozen=True)
class Users:
    """The accounts, by ascending id. `tastes` are standard normal, one vector a user; `activity` sums to 1."""

    ids: Indexes
    activity: Floats
    leniency: Floats
    tastes: Floats
    newcomers: list[bool]

    def place(self, user_id: int) -> int | None:
        """Find the position of an id, or None when nobody has it."""
        place = int(np.searchsorted(self.ids, user_id))
        return place if place < len(self.ids) and self.ids[place] == user_id else None


@dataclass(frozen=True)
class World:
    """Who there is and what there is to watch."""

    seed: int
    films: Films
    users: Users

    @classmethod
    def generate(cls, seed: int, users: int, films: int, skew: float = 1.0) -> Self:
        """Make the world of `seed`: popularity falls with the film's rank as `1 / rank ** skew` (1 as measured)."""
        return cls(seed, _films(seed, films, skew), _users(seed, users))


def _films(seed: int, count: int, skew: float) -> Films:
    draws = Draws(seed, _FILMS)
    rows = list(islice(distinct_films(draws), count))
    genres = [_genres(draws) for _ in rows]
    popularity = 1.0 / np.arange(1, count + 1) ** skew
    return Films(
        ids=[name for name, _, _ in rows],
        titles=[title for _, title, _ in rows],
        years=[year for _, _, year in rows],
        genres=genres,
        runtimes=[_runtime(draws) for _ in rows],
        popularity=popularity / popularity.sum(),
        quality=draws.rng.standard_normal(count),
        directions=_directions(seed, genres, draws),
    )


def _genres(draws: Draws) -> tuple[int, ...]:
    wanted = 1 + draws.below(3)
    # Squared, so that the first genres of the table are the common ones.
    return tuple(sorted({int(draws.uniform() ** 2 * len(GENRES)) for _ in range(wanted)}))


def _runtime(draws: Draws) -> int:
    if draws.uniform() < SERIES_SHARE:
        return 240 + draws.below(LONGEST_RUNTIME - 239)
    return min(240, max(5, round(100 + 22 * draws.normal())))


def _directions(seed: int, genres: list[tuple[int, ...]], draws: Draws) -> Floats:
    poles = Draws(seed, _GENRES).rng.standard_normal((len(GENRES), TASTE_DIMENSIONS))
    own = draws.rng.standard_normal((len(genres), TASTE_DIMENSIONS))
    pulled = own + GENRE_PULL * np.array([poles[list(chosen)].mean(axis=0) for chosen in genres])
    directions: Floats = pulled / np.linalg.norm(pulled, axis=1, keepdims=True)
    return directions


def _users(seed: int, count: int) -> Users:
    rng = Draws(seed, _USERS).rng
    activity = rng.lognormal(sigma=ACTIVITY_SPREAD, size=count)
    highest = max(HIGHEST_USER_ID, 2 * count)
    return Users(
        ids=np.sort(rng.choice(highest, size=count, replace=False) + 1),
        activity=activity / activity.sum(),
        leniency=rng.standard_normal(count),
        tastes=rng.standard_normal((count, TASTE_DIMENSIONS)),
        newcomers=(rng.random(count) < NEWCOMER_SHARE).tolist(),
    )
