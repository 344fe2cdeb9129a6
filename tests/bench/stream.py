"""Ratings and viewings at our rates, made up and the same each time: users with taste, films with fame, damaged film ids.

All are drawn as arrays, a stretch of time after the other, so that a year needs no more memory than two days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

DAY = 86_400
RATINGS_A_DAY = 7 * DAY
LINES_A_SECOND = 550
VIEWINGS_A_DAY = 480_000
# A line of a watch is a minute, so a viewing has 99 of them.
MINUTES = LINES_A_SECOND * DAY / VIEWINGS_A_DAY
# The share of watch lines whose film has one letter or digit too many.
DAMAGED = 0.0002
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
BLOCK_LINES = 100_000

GENRES = 20
LIKED_GENRES = 3
# The share of events in a genre that the user likes; the others go by fame alone.
BY_TASTE = 0.7
TASTES = 4
SHORTEST, LONGEST = 0.7, 1.3  # lengths of films, in MINUTES
LEAST_WATCHED = 0.3


class RatingRows(NamedTuple):
    """Ratings in the order of time. `second` is since 1970, `stars` are 1 to 5."""

    user: Ints
    film: Ints
    stars: Ints
    second: Ints


class Viewings(NamedTuple):
    """Viewings in the order of their first minutes. `second` is that of the first minute, since 1970."""

    user: Ints
    film: Ints
    minutes: Ints
    second: Ints


class DamagedLines(NamedTuple):
    """Single lines of viewings whose film's id was damaged."""

    user: Ints
    film_id: npt.NDArray[np.object_]
    second: Ints


class Audience:
    """Users and films, and what they have to do with each other."""

    def __init__(self, users: int, films: int, seed: int = 0) -> None:
        """At least `GENRES` films are needed."""
        draw = np.random.default_rng(seed)
        self.films = film_ids(films)
        self._activity = _cumulative(draw.lognormal(0.0, 1.0, users))
        self._fame = _cumulative((draw.permutation(films) + 30.0) ** -0.9)
        self._genre = np.arange(films) * GENRES // films
        self._genre_starts = np.searchsorted(self._genre, np.arange(GENRES + 1))
        self._liked = draw.integers(0, GENRES, (users, LIKED_GENRES))
        self._user_bias, self._film_bias = draw.normal(0, 0.4, users), draw.normal(0, 0.4, films)
        self._user_taste, self._film_taste = draw.normal(0, 0.3, (users, TASTES)), draw.normal(0, 0.6, (films, TASTES))
        self._length = MINUTES / 0.9 * draw.uniform(SHORTEST, LONGEST, films)

    def ratings(self, begin: int, end: int, seed: int) -> RatingRows:
        """The ratings from one second to another."""
        draw = np.random.default_rng([1, seed])
        user, film = self._pairs(draw, round(RATINGS_A_DAY * (end - begin) / DAY))
        wanted = 3.5 + self._user_bias[user] + self._film_bias[film] + self._affinity(user, film)
        stars = np.clip(np.rint(wanted + draw.normal(0, 0.6, len(user))), 1, 5).astype(np.int64)
        return RatingRows(user, film, stars, np.sort(draw.integers(begin, end, len(user))))

    def viewings(self, begin: int, end: int, seed: int) -> Viewings:
        """The viewings from one second to another; who likes a film watches more of it."""
        draw = np.random.default_rng([2, seed])
        user, film = self._pairs(draw, round(VIEWINGS_A_DAY * (end - begin) / DAY))
        share = np.clip(0.9 + 0.1 * self._affinity(user, film) + draw.normal(0, 0.1, len(user)), LEAST_WATCHED, 1.0)
        minutes = np.rint(self._length[film] * share).astype(np.int64)
        second = begin + (draw.random(len(user)) * np.maximum(end - begin - 60 * minutes, 1)).astype(np.int64)
        order = np.argsort(second, kind="stable")
        return Viewings(user[order], film[order], minutes[order], second[order])

    def damaged(self, viewings: Viewings, seed: int) -> DamagedLines:
        """The damaged lines among those of the viewings."""
        draw = np.random.default_rng([3, seed])
        ends = np.cumsum(viewings.minutes)
        line = np.sort(draw.integers(0, ends[-1], draw.binomial(ends[-1], DAMAGED)))
        at = np.searchsorted(ends, line, side="right")
        minute = line - (ends[at] - viewings.minutes[at])
        ids = [_damaged(self.films[film], *draw.random(2).tolist()) for film in viewings.film[at].tolist()]
        return DamagedLines(viewings.user[at], np.array(ids, dtype=np.object_), viewings.second[at] + 60 * minute)

    def _pairs(self, draw: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        """Users by activity, and for each a film by taste and fame."""
        user = np.searchsorted(self._activity, draw.random(count), side="right") - 1
        genre = self._liked[user, draw.integers(0, LIKED_GENRES, count)]
        by_taste = draw.random(count) < BY_TASTE
        low = np.where(by_taste, self._fame[self._genre_starts[genre]], 0.0)
        high = np.where(by_taste, self._fame[self._genre_starts[genre + 1]], 1.0)
        film = np.searchsorted(self._fame, low + (high - low) * draw.random(count), side="right") - 1
        return user, np.minimum(film, len(self.films) - 1)

    def _affinity(self, user: Ints, film: Ints) -> Floats:
        is_liked = (self._liked[user] == self._genre[film, None]).any(axis=1)
        taste: Floats = np.einsum("ij,ij->i", self._user_taste[user], self._film_taste[film])
        return np.where(is_liked, 0.3, -0.3) + taste


def film_ids(count: int) -> tuple[str, ...]:
    """Ids as long as real ones, in order. No two are a letter or digit apart."""
    return tuple(f"the+{at:05d}th+old+film+{1900 + at % 120}" for at in range(count))


def block_rows(viewings: Viewings) -> Iterator[Viewings]:
    """The rows that a collection makes of viewings: for each block of `BLOCK_LINES` lines one of each viewing in it."""
    if not len(viewings.second):
        return
    seconds = BLOCK_LINES / LINES_A_SECOND
    longest = 60 * int(viewings.minutes.max())
    begin, end = int(viewings.second[0]), int((viewings.second + 60 * viewings.minutes).max())
    for block in range(int((end - begin) / seconds) + 1):
        start, stop = begin + block * seconds, begin + (block + 1) * seconds
        first, last = np.searchsorted(viewings.second, [start - longest, stop])
        user, film, minutes, second = (column[first:last] for column in viewings)
        from_minute = np.maximum(np.ceil((start - second) / 60), 0).astype(np.int64)
        to_minute = np.minimum(np.ceil((stop - second) / 60).astype(np.int64), minutes)
        here = to_minute > from_minute
        count = to_minute - from_minute
        yield Viewings(user[here], film[here], count[here], (second + 60 * from_minute)[here])


def joined(rows: list[Any]) -> Any:
    """Rows of one kind, one after the other."""
    return type(rows[0])(*map(np.concatenate, zip(*rows, strict=True)))


def _cumulative(weights: npt.NDArray[np.floating[Any]]) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(weights)]).astype(np.float64)
    shares: Floats = total / total[-1]
    return shares


def _damaged(film: str, place: float, letter: float) -> str:
    """The id with one letter or digit more, before its year: with one in the year it is no id."""
    at = int(place * (film.rindex("+") + 1))
    return film[:at] + LETTERS[int(letter * len(LETTERS))] + film[at:]
