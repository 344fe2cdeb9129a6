"""Computes one user's list from the `fresh` part of an artifact, in whole numbers. So every machine computes the same list.

    fresh/popular        int64  (films,)        popularity's scores
    fresh/film_minutes   float32 (films,)       each film's length in minutes, 0 where it is not known
    fresh/item_rows      row    (m,)            the films that have item weights, ascending
    fresh/item_films     row    (m, k)          for each of these films the films that a like for it speaks for or against
    fresh/item_weights   int16  (m, k)          and how much
    fresh/item_factors   int16  (films, f)      a film's factors; the product of two films' factors is a weight, too
    fresh/like_ends      int64  (users,)        where each user's likes end
    fresh/like_films     row    (likes,)        the liked films
    fresh/like_grades    uint8  (likes,)        and how much each is liked
    fresh/seen_ends      int64  (users,)        where each user's seen films end
    fresh/seen_gaps      uint8  (bytes,)        the gaps between a user's seen films, see `seen_films`

`row` is the type of film numbers, see `app.model`. `item_*` are absent where the ranker is popularity or predicts ratings. All
sums stay below 2^53, so float64 holds them exactly, in whatever order a processor adds them up.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from app.events import Rules
from app.model import RESERVE, ArtifactError, load_fresh, load_serving

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.model import Array

Films = npt.NDArray[np.int64]

BEST_GRADE = 255
# With this many likes, popularity counts half of what it counts without likes.
FADES_AT = 10
# A list follows so many of a user's newest liked films, which bounds what is kept of a served list.
NEWEST_LIKES = 100
EXACT = 2**53
SAMPLED = 8
ESCAPE = 255


class NoFreshPartError(ArtifactError):
    """The version was trained without a fresh part."""


class NewLike(NamedTuple):
    """A film that a user has rated or watched since the version, and the grade of the like, 0 to 255."""

    film: int
    grade: int


class ComputedList(NamedTuple):
    """`films`: at most 40, best first. `places`: those of the films that were left out, in the order by scores alone."""

    films: tuple[int, ...]
    places: tuple[int, ...]


class ListModel:
    """The item weights, likes and seen films of a version."""

    def __init__(self, folder: Path) -> None:
        """Map the artifact in `folder`. Raises ArtifactError where it has no usable `fresh` part."""
        serving = load_serving(folder)
        facts = serving.metadata.get("fresh")
        if not isinstance(facts, dict):
            raise NoFreshPartError(f"{folder}: the version has no part for freshness: train it with FRESH=true")
        # NumPy's own arrays, of the same memory: taking a part of a map takes five times as long.
        arrays = {name: array.view(np.ndarray) for name, array in load_fresh(folder).items()}
        try:
            lowest, highest = serving.metadata["scale"]
            self.rules = Rules(float(lowest), float(highest), int(facts["user_id_max"]))
            self._grades: dict[str, int] = facts["grades"]
            self._watched_grade: int = facts["watched_grade"]
            self._left_early: float = facts["left_early"]
            self._item_share = float(facts["item_share"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{folder}/metadata.json: says too little about its fresh part ({error}): train again"
            ) from error
        self.metadata = serving.metadata
        self._serving = serving
        self.films = serving.films
        self.numbers = {film: number for number, film in enumerate(serving.films)}
        self._arrays = arrays
        self._minutes = arrays["film_minutes"]
        self._popular = np.asarray(arrays["popular"])
        factors = arrays.get("item_factors")
        self._factors = None if factors is None else factors.astype(np.float64)

    @property
    def is_personal(self) -> bool:
        """Whether likes change a list: rankers without item weights only leave films out."""
        return self._factors is not None or "item_rows" in self._arrays

    def row_of(self, user: int) -> int | None:
        """See `ServingModel.row_of`."""
        return self._serving.row_of(user)

    def reserve_of(self, row: int | None) -> list[int]:
        """See `ServingModel.reserve_of`."""
        return self._serving.reserve_of(row)

    def likes_of(self, row: int | None) -> dict[int, int]:
        """The films that a user likes by the version's data, and their grades."""
        if row is None:
            return {}
        films, grades = (self._part(name, "like_ends", row) for name in ("like_films", "like_grades"))
        return dict(zip(films.tolist(), grades.tolist(), strict=True))

    def grade_of_stars(self, stars: float) -> int:
        """The grade of a rating, 0 for no like."""
        return self._grades.get(f"{stars:g}", 0)

    def share_watched(self, film: int, minutes: int) -> float:
        """The watched share of a film's length, at most 1; 0 where the length is not known."""
        length = float(self._minutes[film])
        return min(minutes / length, 1.0) if length > 0 else 0.0

    def minutes_past(self, shares: Sequence[float]) -> list[frozenset[int]]:
        """For each film the first minutes that are past these shares of its length, see `share_watched`.

        The sets are shared among films of one length. A film without a length has none.
        """
        lengths = {float(each) for each in self._minutes.tolist()}
        found = {length: frozenset(_first_past(share, length) for share in shares if length > 0) for length in lengths}
        return [found[length] for length in self._minutes.tolist()]

    def grade_of_minutes(self, film: int, minutes: int) -> int:
        """The grade of watched minutes, 0 for no like."""
        share = self.share_watched(film, minutes)
        return int(self._watched_grade * share) if share > self._left_early else 0

    def seen_films(self, row: int | None) -> Films:
        """The films that a user rated or watched in the version's data, ascending.

        A byte is the gap to the next film. 255 is no film: the next byte's gap begins 255 films later.
        """
        if row is None:
            return np.empty(0, dtype=np.int64)
        gaps = self._part("seen_gaps", "seen_ends", row)
        films: Films = (gaps.cumsum(dtype=np.int64) - 1)[gaps != ESCAPE]
        return films

    def compute(self, row: int | None, likes: tuple[NewLike, ...], struck: Films) -> ComputedList:
        """The best 40 films by history and new likes, without what the user has seen and without `struck`."""
        excluded = np.union1d(self.seen_films(row), struck)
        order = self._best(row, likes, RESERVE + len(excluded))
        left_out = np.isin(order, excluded)
        kept = np.flatnonzero(~left_out)
        reach = int(kept[RESERVE - 1]) + 1 if len(kept) >= RESERVE else len(order)
        places = np.flatnonzero(left_out[:reach])
        return ComputedList(tuple(order[:reach][~left_out[:reach]].tolist()), tuple(places.tolist()))

    def compute_again(self, row: int | None, likes: tuple[NewLike, ...], places: tuple[int, ...]) -> tuple[int, ...]:
        """The films of `compute`, from the places that it left out."""
        order = self._best(row, likes, RESERVE + len(places))
        kept = np.ones(len(order), dtype=bool)
        kept[[place for place in places if place < len(order)]] = False
        return tuple(order[kept][:RESERVE].tolist())

    def _best(self, row: int | None, likes: tuple[NewLike, ...], count: int) -> Films:
        """The best `count` films by score, of equal ones the first film."""
        films, grades = self._taste(row, likes)
        scores = self._scores(films, grades)
        if not (self.is_personal and len(films)):
            # Nothing is known of a taste: the version's own list first, then popular films.
            reserve = self.reserve_of(row)
            scores[reserve] = EXACT - np.arange(1, len(reserve) + 1)
        candidates = np.flatnonzero(scores >= _limit(scores, min(count, len(scores))))
        return candidates[np.argsort(-scores[candidates], kind="stable")][:count]

    def _taste(self, row: int | None, likes: tuple[NewLike, ...]) -> tuple[Films, Films]:
        """The liked films of a user and their grades: a new grade counts instead of an old one."""
        films = np.array([each.film for each in likes], dtype=np.int64)
        grades = np.array([each.grade for each in likes], dtype=np.int64)
        if old := self.likes_of(row):
            known, before = (np.array([*each], dtype=np.int64) for each in (old.keys(), old.values()))
            stays = ~np.isin(known, films)
            films, grades = np.concatenate([known[stays], films]), np.concatenate([before[stays], grades])
        return films[grades > 0], grades[grades > 0]

    def _scores(self, films: Films, grades: Films) -> npt.NDArray[np.float64]:
        scores = (self._popular * FADES_AT // (FADES_AT + len(films))).astype(np.float64)
        if "item_rows" in self._arrays:
            rows = np.searchsorted(self._arrays["item_rows"], films)
            rows = np.minimum(rows, len(self._arrays["item_rows"]) - 1)
            found = self._arrays["item_rows"][rows] == films
            weights = self._arrays["item_weights"][rows[found]] * grades[found, None]
            targets = self._arrays["item_films"][rows[found]]
            scores += self._item_share * np.bincount(targets.ravel(), weights.ravel(), minlength=len(scores))
        if self._factors is not None:
            scores += self._factors @ (grades.astype(np.float64) @ self._factors[films])
        return scores

    def _part(self, name: str, ends: str, row: int) -> Array:
        stops = self._arrays[ends]
        return self._arrays[name][int(stops[row - 1]) if row else 0 : int(stops[row])]


def _limit(scores: npt.NDArray[np.float64], count: int) -> float:
    """A score that at least `count` of the scores reach, and few more: a sample finds it in a third of the time."""
    sample = scores[::SAMPLED]
    place = len(sample) - 2 * count // SAMPLED - SAMPLED
    if place > 0:
        limit = float(np.partition(sample, place)[place])
        if np.count_nonzero(scores >= limit) >= count:
            return limit
    return float(np.partition(scores, len(scores) - count)[len(scores) - count])


def _first_past(share: float, length: float) -> int:
    """The first whole number of minutes whose share of the length is above `share`, which is below 1."""
    minutes = max(int(share * length) - 1, 0)
    while minutes / length <= share:
        minutes += 1
    return minutes


def source_text(likes: tuple[NewLike, ...], places: tuple[int, ...]) -> str:
    """What a list was computed from, as text without blanks: the likes, 5 bytes each, and a bit for each place left out."""
    packed = b"".join(each.film.to_bytes(4, "little") + bytes([each.grade]) for each in likes)
    bits = sum(1 << place for place in places)
    left_out = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (packed, left_out))


def read_source(text: str) -> tuple[tuple[NewLike, ...], tuple[int, ...]]:
    """Likes and places of a text of `source_text`. Raises ValueError for any other text."""
    try:
        packed, left_out = (base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True) for part in text.split("."))
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{text[:40]!r} is not what a list was computed from") from error
    if len(packed) % 5:
        raise ValueError(f"{text[:40]!r} is not what a list was computed from")
    likes = tuple(NewLike(int.from_bytes(packed[at : at + 4], "little"), packed[at + 4]) for at in range(0, len(packed), 5))
    bits = np.unpackbits(np.frombuffer(left_out, dtype=np.uint8), bitorder="little")
    return likes, tuple(np.flatnonzero(bits).tolist())
