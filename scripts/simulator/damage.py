"""The errors that the service injects into its stream on purpose."""

import string
from dataclasses import dataclass

from scripts.simulator.draws import Draws
from scripts.simulator.lines import Kind

ALPHANUMERICS = string.ascii_letters + string.digits
INSERTED = ALPHANUMERICS + " "
SHORTEST_NOISE, LONGEST_NOISE = 8, 58
# Of the damaged lines: those whose whole film id is replaced; the others get one character too many.
REPLACED_SHARE = 0.3
# Of the empty ratings: those that lost the film too.
NO_FILM_SHARE = 0.5


@dataclass(frozen=True)
class DamageRates:
    """Shares of lines that are damaged, as measured: of ratings, of watch lines, and of ratings left empty."""

    ratings: float = 0.0004
    watches: float = 0.01
    empty_ratings: float = 0.0002


def insert_character(line: str, place: int, character: str) -> str:
    """Put one character before the given place; the length of the line puts it last."""
    return line[:place] + character + line[place:]


def replace_film(line: str, noise: str) -> str:
    """Put noise in the place of the film's id, in a watch or rating line."""
    before, mark, rest = _around_film(line)
    end = rest.rindex("=" if mark == "/rate/" else "/")
    return before + mark + noise + rest[end:]


def empty_rating(line: str, *, film: bool) -> str:
    """Take the value from a rating line, and with `film` the film too (`GET /rate/=`)."""
    before, mark, rest = _around_film(line)
    kept = "" if film else rest[: rest.rindex("=")]
    return f"{before}{mark}{kept}="


def _around_film(line: str) -> tuple[str, str, str]:
    mark = "/rate/" if "/rate/" in line else "/data/m/"
    return line.partition(mark)


@dataclass(frozen=True)
class Damager:
    """Damages whole lines at the given rates; recommendation and account lines are left alone."""

    rates: DamageRates
    draws: Draws

    def __call__(self, kind: Kind, line: str) -> str:
        """Give the line back, mostly as it is."""
        if kind is Kind.WATCH:
            return self._spoil(line) if self.draws.uniform() < self.rates.watches else line
        if kind is not Kind.RATING:
            return line
        luck = self.draws.uniform()
        if luck < self.rates.empty_ratings:
            return empty_rating(line, film=self.draws.uniform() < NO_FILM_SHARE)
        return self._spoil(line) if luck < self.rates.empty_ratings + self.rates.ratings else line

    def _spoil(self, line: str) -> str:
        if self.draws.uniform() < REPLACED_SHARE:
            length = SHORTEST_NOISE + self.draws.below(LONGEST_NOISE - SHORTEST_NOISE + 1)
            return replace_film(line, "".join(self._one_of(ALPHANUMERICS) for _ in range(length)))
        return insert_character(line, self.draws.below(len(line) + 1), self._one_of(INSERTED))

    def _one_of(self, characters: str) -> str:
        return characters[self.draws.below(len(characters))]
