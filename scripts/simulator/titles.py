"""Film titles, their years, and the ids that the film service makes of them."""

import re
from collections.abc import Iterator

import numpy as np

from scripts.simulator import words
from scripts.simulator.draws import Draws

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
        adjective=one(words.ADJECTIVES),
        noun=one(words.NOUNS),
        other=one(words.NOUNS),
        first=one(words.FIRST_NAMES),
        last=one(words.LAST_NAMES),
        place=one(words.PLACES),
        number=2 + draws.below(99),
    )


def distinct_films(draws: Draws) -> Iterator[tuple[str, str, int]]:
    """Yield id, title and year of one film after the other without end, never an id twice."""
    patterns = [pattern for pattern, _ in words.PATTERNS]
    bounds = np.cumsum([weight for _, weight in words.PATTERNS])
    taken: set[str] = set()
    while True:
        place = int(np.searchsorted(bounds, draws.uniform() * bounds[-1], side="right"))
        title, year = _title(patterns[place], draws), _year(draws)
        name = film_id(title, year)
        if name not in taken:
            taken.add(name)
            yield name, title, year
