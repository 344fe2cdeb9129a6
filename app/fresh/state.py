"""What is new of each user: events change records, and records that need a list get one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.events import Rating, Watch
from app.fresh.list_model import NEWEST_LIKES, NewLike, source_text
from app.fresh.overlay import UNRATED, Record, pack, unpack
from app.recommender import SERVED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.events import Event
    from app.fresh.list_model import ComputedList, ListModel

# A list is computed when a viewing passes these shares of the film's length: before that it says nothing about taste.
MILESTONES = (0.1, 0.5, 0.9)
MOST_MINUTES = 0xFFFE


class State:
    """The records of all users with new events, by user. `changed`: the users whose answers may differ since `publish`."""

    def __init__(self, model: ListModel, records: Mapping[int, bytes] | None = None) -> None:
        self._model = model
        self.records: dict[int, bytes] = dict(records or {})
        self.changed: set[int] = set()
        self._due: set[int] = set()
        self.lists = 0

    def apply(self, event: Event) -> None:
        """Take an event into its user's record. Events of other kinds and of films outside the version change nothing."""
        if not isinstance(event, Rating | Watch):
            return
        film = self._model.numbers.get(event.film)
        if film is None:
            return
        content = self.records.get(event.user)
        record = Record((), (), ()) if content is None else unpack(content)
        at = record.films.index(film) if film in record.films else len(record.films)
        if at == len(record.films):
            record = record._replace(
                films=(*record.films, film), minutes=(*record.minutes, 0), grades=(*record.grades, UNRATED)
            )
            self.changed.add(event.user)
            if self._is_short(event.user, record):
                self._due.add(event.user)
        if isinstance(event, Rating):
            record = record._replace(grades=_changed(record.grades, at, self._model.grade_of_stars(event.stars)))
            self._due.add(event.user)
        else:
            before = record.minutes[at]
            record = record._replace(minutes=_changed(record.minutes, at, min(before + 1, MOST_MINUTES)))
            if record.grades[at] == UNRATED and self._passes_milestone(film, before):
                self._due.add(event.user)
        self.records[event.user] = pack(record)

    def compute_due(self) -> None:
        """Compute the lists that events have made due: one for each user, however many events there were."""
        for user in self._due:
            record = unpack(self.records[user])
            likes = self._likes(user, record)
            found = self._compute(user, record, likes)
            source = source_text(likes, found.places)
            if record.listed != found.films or record.source != source:
                self.records[user] = pack(record._replace(listed=found.films, source=source))
                self.changed.add(user)
            self.lists += 1
        self._due.clear()

    def _compute(self, user: int, record: Record, likes: tuple[NewLike, ...]) -> ComputedList:
        return self._model.compute(self._model.row_of(user), likes, np.array(record.films, dtype=np.int64))

    def _likes(self, user: int, record: Record) -> tuple[NewLike, ...]:
        """The grades of the newest films. A rating says what a user thinks; minutes only raise what was known before."""
        old = self._model.likes_of(self._model.row_of(user))
        found = []
        for film, minutes, grade in zip(record.films, record.minutes, record.grades, strict=True):
            if grade != UNRATED:
                found.append(NewLike(film, grade))
            else:
                watched = self._model.grade_of_minutes(film, minutes)
                if watched > old.get(film, 0):
                    found.append(NewLike(film, watched))
        return tuple(found[-NEWEST_LIKES:])

    def _passes_milestone(self, film: int, minutes: int) -> bool:
        """Whether the next minute passes one of `MILESTONES`."""
        before, after = (self._model.share_watched(film, each) for each in (minutes, minutes + 1))
        return any(before <= share < after for share in MILESTONES)

    def _is_short(self, user: int, record: Record) -> bool:
        """Whether the struck films leave too few of the list that is served."""
        row = record.listed or self._model.reserve_of(self._model.row_of(user))
        return len(row) - len(set(row).intersection(record.films)) < SERVED


def _changed(values: tuple[int, ...], at: int, value: int) -> tuple[int, ...]:
    return (*values[:at], value, *values[at + 1 :])
