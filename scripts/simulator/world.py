"""The seeded world: films, users and their tastes. Pure data, the same for the same seed and sizes."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Self

import numpy as np
import numpy.typing as npt

BLOCK = 4096

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]


def _one_by_one(draw: Callable[[int], Floats]) -> Iterator[float]:
    while True:
        yield from draw(BLOCK).tolist()


class Draws:
    """Random numbers that a seed and a purpose fix: single ones from blocks, since numpy is slow at one at a time."""

    def __init__(self, seed: int, purpose: int) -> None:
        """Start the numbers of `seed`; another `purpose` gives independent ones."""
        self.rng = np.random.default_rng([seed, purpose])
        self.uniform = _one_by_one(self.rng.random).__next__
        self.normal = _one_by_one(self.rng.standard_normal).__next__

    def below(self, bound: int) -> int:
        """Draw a whole number from 0 to `bound - 1`."""
        return int(self.uniform() * bound)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = _words(
    """
    Silent Broken Crimson Hidden Last Lost Golden Dark Lonely Wild Restless Frozen Burning Quiet Hollow Savage
    Gentle Midnight Forgotten Secret Perfect Electric Invisible Bitter Crooked Distant Endless Fearless Faithful
    Grand Haunted Iron Late Little Long Mad Magnificent Naked New Old Pale Painted Private Proud Rising Royal
    Sacred Scarlet Second Seventh Shallow Simple Sleeping Small Stolen Strange Sweet Tender Thin True Twisted
    Unknown Velvet Violent Wandering White Wicked Winter Young Yellow Absent Amazing Ancient Barefoot Beautiful
    Black Blind Blue Brave Careless Cold
    """
)

NOUNS = _words(
    """
    River Garden Soldier Stranger Night Summer City Train Harbor Mirror Letter Orchard Empire Island Dancer
    Doctor Detective Widow Kingdom Forest Bridge Storm Circus Lighthouse Mountain Desert Sailor Thief Teacher
    Painter Pilot Witness Judge Hunter Farmer Baker Gambler Angel Ghost Wolf Lion Tiger Eagle Horse Fox Raven
    Swan Serpent Dragon Robot Machine Signal Planet Moon Star Comet Rocket Engine Castle Tower Palace Temple
    Prison Hospital Hotel School Street Avenue Highway Crossing Station Window Door Key Clock Crown Sword Rifle
    Knife Bullet Diamond Pearl Ring Promise Secret Lie Dream Memory Shadow Whisper Song Symphony Waltz Tango
    Carnival Holiday Wedding Funeral Party Game Chase Escape Heist Trial Murder Affair Romance Revenge Betrayal
    Honor Glory Courage Fear Anger Silence Winter Autumn Spring Morning Evening Sunset Horizon Ocean Voyage
    Journey Pilgrim Prophet King Queen Prince Princess Duke Captain General Colonel Sheriff Outlaw Bandit Cowboy
    Samurai Monk Nun Priest Saint Sinner Devil Mother Father Sister Brother Daughter Son Uncle Neighbor Friend
    Enemy Lover Bride Tailor Barber Butcher Miner Clown Magician Champion
    """
)

FIRST_NAMES = _words(
    """
    Anna Boris Clara Daniel Elena Felix Greta Henry Iris Jack Karin Leo Maria Nora Oscar Paul Quentin Rosa
    Samuel Tessa Ursula Victor Wanda Xavier Yvonne Alice Bruno Carmen Dexter Edith Frank Gloria Hugo Ida Jonas
    Katya Louis Molly Nils
    """
)

LAST_NAMES = _words(
    """
    Adler Barlow Carrow Dalton Ellery Fontaine Garrick Holloway Irving Jessup Kessler Larkin Marlowe Norwood
    Osgood Prescott Quill Ramsey Sutter Thorne Underhill Vance Whitlock Yarrow Zeller Ashby Bramwell Colby
    Drummond Everett
    """
)

PLACES = _words(
    """
    Lisbon Casablanca Vienna Havana Kyoto Odessa Bombay Naples Dublin Prague Havre Tangier Memphis Boston
    Savannah Yukon Siberia Patagonia Saigon Shanghai Marrakesh Berlin Brooklyn Venice Cairo Lima Oslo Tulsa Reno
    Dover
    """
)

# How titles are built, and how often of 100.
PATTERNS = (
    ("The {adjective} {noun}", 17.0),
    ("{adjective} {noun}", 15.0),
    ("{noun}", 9.0),
    ("The {noun}", 9.0),
    ("The {noun} of {place}", 7.0),
    ("{noun} of the {other}", 5.0),
    ("{first} {last}", 5.0),
    ("{noun} {number}", 5.0),
    ("{first}'s {noun}", 4.0),
    ("{number} {noun}s", 3.0),
    ("Dr. {last}", 2.0),
    ("{noun}-{other}", 2.0),
    ("{first} & {last}", 2.0),
    ("Mr. & Mrs. {last}", 1.0),
    ("{adjective} {noun} & {other}", 1.0),
    ("The {noun}, the {other} and the {last}", 1.0),
    ("Good {noun}, {first}", 2.0),
    ("{noun}, {place}", 2.0),
    ("{noun} vs. {other}", 1.5),
    ("{noun} Part {number} - The {adjective} {other}", 1.5),
    ("{noun} No. {number}", 1.5),
    ("Almost {adjective}...", 1.0),
    ("{noun}*{number}", 0.5),
    ("Why {first} {last} Is {adjective}?", 1.0),
)


FIRST_YEAR = 1893
LAST_YEAR = 2025
NO_YEAR = 0
NO_YEAR_SHARE = 0.01
YEARS_TO_FADE = 22.0

_NOT_IN_AN_ID = re.compile(r"[^a-z0-9+._*-]")


def film_id(title: str, year: int) -> str:
    """Give the service's id: lower-case words joined by `+`, then the year, which `NO_YEAR` leaves empty.

    A comma becomes `_`, an ampersand goes and leaves `++`; of the other signs only `.`, `-` and `*` stay.
    """
    joined = title.lower().replace(",", "_").replace(" ", "+")
    return f"{_NOT_IN_AN_ID.sub('', joined)}+{year or ''}"


def _year(draws: Draws) -> int:
    if draws.uniform() < NO_YEAR_SHARE:
        return NO_YEAR
    age = int(-YEARS_TO_FADE * np.log(1.0 - draws.uniform()))
    return max(FIRST_YEAR, LAST_YEAR - age)


def _title(pattern: str, draws: Draws) -> str:
    def one(choices: tuple[str, ...]) -> str:
        return choices[draws.below(len(choices))]

    return pattern.format(
        adjective=one(ADJECTIVES),
        noun=one(NOUNS),
        other=one(NOUNS),
        first=one(FIRST_NAMES),
        last=one(LAST_NAMES),
        place=one(PLACES),
        number=2 + draws.below(99),
    )


def distinct_films(draws: Draws) -> Iterator[tuple[str, str, int]]:
    """Yield id, title and year of one film after the other without end, never an id twice."""
    patterns = [pattern for pattern, _ in PATTERNS]
    bounds = np.cumsum([weight for _, weight in PATTERNS])
    taken: set[str] = set()
    while True:
        place = int(np.searchsorted(bounds, draws.uniform() * bounds[-1], side="right"))
        title, year = _title(patterns[place], draws), _year(draws)
        name = film_id(title, year)
        if name not in taken:
            taken.add(name)
            yield name, title, year


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
