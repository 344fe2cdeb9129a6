"""What is new of each user: events change records, and records that need a list get one."""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING

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
# More films than this no viewer begins between two versions. Of a program that sends lines the newest films count.
MOST_FILMS = 1000
# Somebody who watches a film sends a line every minute: 33,000 records change in a minute at 550 lines/s. An open record takes
# ten times the memory of a packed one, and packing takes longer than an event.
MOST_OPEN = 50_000
_GRADE_BITS = 16
_GRADE = (1 << _GRADE_BITS) - 1
_MINUTE = 1 << _GRADE_BITS


class _OpenRecord:
    """A record that changes. `films` are in the order of their last rating or milestone.

    A film has a number: the watched minutes times 2^16, and the grade of the rating or `UNRATED`.
    """

    __slots__ = ("due", "films", "listed", "source")

    def __init__(self, content: bytes | None) -> None:
        self.films: dict[int, int] = {}
        self.listed: array[int] = array("I")
        self.source, self.due = "", False
        if content is not None:
            record = unpack(content)
            numbers = (minutes * _MINUTE | grade for minutes, grade in zip(record.minutes, record.grades, strict=True))
            self.films = dict(zip(record.films, numbers, strict=True))
            self.listed, self.source, self.due = array("I", record.listed), record.source, record.due

    def pack(self) -> bytes:
        """The record as bytes."""
        minutes = tuple([each >> _GRADE_BITS for each in self.films.values()])
        grades = tuple([each & _GRADE for each in self.films.values()])
        return pack(Record(tuple(self.films), minutes, grades, tuple(self.listed), self.source, due=self.due))


class State:
    """The records of all users with new events. `changed`: users whose answers may differ since they were last published."""

    def __init__(self, model: ListModel, records: Mapping[int, bytes] | None = None) -> None:
        self._model = model
        self._packed: dict[int, bytes] = dict(records or {})
        self._open: dict[int, _OpenRecord] = {}
        self._open_before: dict[int, _OpenRecord] = {}
        self._due: dict[int, None] = {user: None for user, content in self._packed.items() if is_due(content)}
        self._milestones = model.minutes_past(MILESTONES)
        self.changed: set[int] = set()
        self.lists = 0

    def apply(self, event: Event) -> None:
        """Take an event into its user's record. Events of other kinds and of films outside the version change nothing."""
        if not isinstance(event, Rating | Watch):
            return
        film = self._model.numbers.get(event.film)
        if film is None:
            return
        user = event.user
        record = self._open.get(user) or self._opened(user)
        known = record.films.get(film)
        if known is None:
            if len(record.films) >= MOST_FILMS:
                del record.films[next(iter(record.films))]
            known = record.films[film] = UNRATED
            self.changed.add(user)
            if self._is_short(user, record):
                self._make_due(user, record)
        if isinstance(event, Rating):
            self._note(user, record, film, known & ~_GRADE | self._model.grade_of_stars(event.stars))
            return
        minutes = min((known >> _GRADE_BITS) + 1, MOST_MINUTES)
        changed = minutes * _MINUTE | known & _GRADE
        if minutes in self._milestones[film] and known & _GRADE == UNRATED:
            self._note(user, record, film, changed)
        else:
            record.films[film] = changed

    def compute_due(self, until: float | None = None) -> None:
        """Compute lists that events have made due, the newest first: one for each user, however many events there were.

        Stop at `until`, of `time.monotonic`. The other lists stay due. Newest first: a user who watches now does not
        wait for others, also after a long stop.
        """
        while self._due and (until is None or time.monotonic() < until):
            user, _ = self._due.popitem()
            record = self._opened(user)
            row = self._model.row_of(user)
            likes = self._likes(row, record)
            found = self._model.compute(row, likes, np.array(list(record.films), dtype=np.int64))
            record.listed, record.source, record.due = array("I", found.films), source_text(likes, found.places), False
            self.changed.add(user)
            self.lists += 1

    @property
    def users(self) -> int:
        """The number of users with new events."""
        new = (user for records in (self._open, self._open_before) for user in records if user not in self._packed)
        return len(self._packed) + sum(1 for _ in new)

    @property
    def due(self) -> int:
        """The number of users whose list does not follow their events yet."""
        return len(self._due)

    def records(self) -> dict[int, bytes]:
        """All records by user, packed."""
        self._pack(self._open_before)
        self._pack(self._open)
        return self._packed

    def _opened(self, user: int) -> _OpenRecord:
        """The user's record among the open ones. Those that were not needed for long are packed."""
        record = self._open.get(user)
        if record is None:
            record = self._open_before.pop(user, None) or _OpenRecord(self._packed.get(user))
            if len(self._open) >= MOST_OPEN:
                self._pack(self._open_before)
                self._open, self._open_before = self._open_before, self._open
            self._open[user] = record
        return record

    def _pack(self, records: dict[int, _OpenRecord]) -> None:
        for user, record in records.items():
            self._packed[user] = record.pack()
        records.clear()

    def _note(self, user: int, record: _OpenRecord, film: int, changed: int) -> None:
        """Keep what says something about taste, as the newest film."""
        del record.films[film]
        record.films[film] = changed
        if self._model.is_personal:
            self._make_due(user, record)

    def _make_due(self, user: int, record: _OpenRecord) -> None:
        record.due = True
        self._due.pop(user, None)
        self._due[user] = None

    def _likes(self, row: int | None, record: _OpenRecord) -> tuple[NewLike, ...]:
        """The newest likes, and dislikes of films that were liked in the version's data; the oldest first.

        A rating says what a user thinks. Minutes only raise a like. They count for films that are new or were liked: a film of
        the version's data without a like may have been rated low.
        """
        old, seen = self._model.likes_of(row), set(self._model.seen_films(row).tolist())
        found: list[NewLike] = []
        count = 0
        for film, number in reversed(record.films.items()):
            minutes, rating = number >> _GRADE_BITS, number & _GRADE
            grade = self._model.grade_of_minutes(film, minutes) if rating == UNRATED else rating
            if rating == UNRATED and (grade <= old.get(film, 0) or (film in seen and film not in old)):
                continue
            if grade and count < NEWEST_LIKES:
                count += 1
                found.append(NewLike(film, grade))
            elif not grade and film in old:
                found.append(NewLike(film, 0))
        return tuple(reversed(found))

    def _is_short(self, user: int, record: _OpenRecord) -> bool:
        """Whether the struck films leave too few of the list that is served."""
        row = record.listed or self._model.reserve_of(self._model.row_of(user))
        return len(row) - len(record.films) < SERVED and len(row) - len(record.films.keys() & set(row)) < SERVED
