"""What is new of each user: events change records, and records that need a list get one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from app.events import Rating, Watch
from app.fresh.list_model import NEWEST_LIKES, NewLike, source_text
from app.fresh.overlay import UNRATED, Record, is_due, pack, unpack
from app.recommender import SERVED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.events import Event
    from app.fresh.list_model import ListModel

# A list is computed when a viewing passes these shares of the film's length: before that it says nothing about taste.
MILESTONES = (0.1, 0.5, 0.9)
MOST_MINUTES = 0xFFFE
# More films than this no viewer begins between two versions. Further films of a program that sends lines are ignored.
MOST_FILMS = 1000


class _Film(NamedTuple):
    """What a user has done with a film: the minutes, and the grade of the rating or `UNRATED`."""

    minutes: int
    grade: int


class _OpenRecord:
    """A record that changes. `films` are in the order of their last rating or milestone."""

    def __init__(self, content: bytes | None) -> None:
        record = Record((), (), ()) if content is None else unpack(content)
        pairs = map(_Film, record.minutes, record.grades)
        self.films: dict[int, _Film] = dict(zip(record.films, pairs, strict=True))
        self.listed, self.source, self.due = record.listed, record.source, record.due

    def pack(self) -> bytes:
        """The record as bytes."""
        minutes, grades = ([each[at] for each in self.films.values()] for at in range(2))
        return pack(Record(tuple(self.films), tuple(minutes), tuple(grades), self.listed, self.source, due=self.due))


class State:
    """The records of all users with new events. `changed`: users whose answers may differ since they were last published."""

    def __init__(self, model: ListModel, records: Mapping[int, bytes] | None = None) -> None:
        self._model = model
        self._packed: dict[int, bytes] = dict(records or {})
        self._open: dict[int, _OpenRecord] = {}
        self._due: dict[int, None] = {user: None for user, content in self._packed.items() if is_due(content)}
        self.changed: set[int] = set()
        self.lists = 0

    def apply(self, event: Event) -> None:
        """Take an event into its user's record. Events of other kinds and of films outside the version change nothing."""
        if not isinstance(event, Rating | Watch):
            return
        film = self._model.numbers.get(event.film)
        if film is None:
            return
        record = self._opened(event.user)
        known = record.films.get(film)
        if known is None:
            if len(record.films) == MOST_FILMS:
                return
            known = record.films[film] = _Film(0, UNRATED)
            self.changed.add(event.user)
            if self._is_short(event.user, record):
                self._make_due(event.user, record)
        if isinstance(event, Rating):
            self._note(event.user, record, film, known._replace(grade=self._model.grade_of_stars(event.stars)))
        elif known.grade == UNRATED and self._passes_milestone(film, known.minutes):
            self._note(event.user, record, film, known._replace(minutes=min(known.minutes + 1, MOST_MINUTES)))
        else:
            record.films[film] = known._replace(minutes=min(known.minutes + 1, MOST_MINUTES))

    def compute_due(self, until: float | None = None) -> None:
        """Compute lists that events have made due, in their order: one for each user, however many events there were.

        Stop at `until`, of `time.monotonic`. The other lists stay due.
        """
        while self._due and (until is None or time.monotonic() < until):
            user = next(iter(self._due))
            del self._due[user]
            record = self._opened(user)
            row = self._model.row_of(user)
            likes = self._likes(row, record)
            found = self._model.compute(row, likes, np.array(list(record.films), dtype=np.int64))
            record.listed, record.source, record.due = found.films, source_text(likes, found.places), False
            self.changed.add(user)
            self.lists += 1

    def records(self) -> dict[int, bytes]:
        """All records by user, packed."""
        for user, record in self._open.items():
            self._packed[user] = record.pack()
        self._open.clear()
        return self._packed

    def _opened(self, user: int) -> _OpenRecord:
        record = self._open.get(user)
        if record is None:
            record = self._open[user] = _OpenRecord(self._packed.get(user))
        return record

    def _note(self, user: int, record: _OpenRecord, film: int, changed: _Film) -> None:
        """Keep what says something about taste, as the newest film."""
        del record.films[film]
        record.films[film] = changed
        if self._model.is_personal:
            self._make_due(user, record)

    def _make_due(self, user: int, record: _OpenRecord) -> None:
        record.due = True
        self._due[user] = None

    def _likes(self, row: int | None, record: _OpenRecord) -> tuple[NewLike, ...]:
        """The newest likes, and dislikes of films that were liked in the version's data; the oldest first.

        A rating says what a user thinks. Minutes only raise a like. They count for films that are new or were liked: a film of
        the version's data without a like may have been rated low.
        """
        old, seen = self._model.likes_of(row), set(self._model.seen_films(row).tolist())
        found: list[NewLike] = []
        count = 0
        for film, (minutes, rating) in reversed(record.films.items()):
            grade = self._model.grade_of_minutes(film, minutes) if rating == UNRATED else rating
            if rating == UNRATED and (grade <= old.get(film, 0) or (film in seen and film not in old)):
                continue
            if grade and count < NEWEST_LIKES:
                count += 1
                found.append(NewLike(film, grade))
            elif not grade and film in old:
                found.append(NewLike(film, 0))
        return tuple(reversed(found))

    def _passes_milestone(self, film: int, minutes: int) -> bool:
        """Whether the next minute passes one of `MILESTONES`."""
        before, after = (self._model.share_watched(film, each) for each in (minutes, minutes + 1))
        return any(before <= share < after for share in MILESTONES)

    def _is_short(self, user: int, record: _OpenRecord) -> bool:
        """Whether the struck films leave too few of the list that is served."""
        row = record.listed or self._model.reserve_of(self._model.row_of(user))
        return len(row) - len(record.films.keys() & set(row)) < SERVED
