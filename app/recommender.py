"""Chooses the list for a user: a known user gets a list of their own, and all others get the popular films."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from app.model import ServingModel

SERVED = 20


class Answer(NamedTuple):
    """`body`: 1 to 20 film ids joined by commas, best first. `step`: how the list was chosen.

    `replay` needs `inputs` and the user: up to 64 characters from `!` to `~`, or an empty text if the answer never varies.
    A list that was computed for new events also needs its `source`, see `app.fresh`.
    """

    body: str
    step: str
    inputs: str = ""
    source: str = ""


class Recommender:
    """Answers from one artifact. A user gets the same answer each time."""

    def __init__(self, model: ServingModel) -> None:
        self.version = model.version
        self._users = model.users
        self._top = model.top
        self._films = model.films
        self._empty = model.empty
        self._popular = Answer(self._join(model.cold[0]), "popular")

    def recommend(self, user: int) -> Answer:
        """The answer for `user`, any whole number from 0 to below 2^63."""
        at = int(self._users.searchsorted(user))
        if at == len(self._users) or self._users[at] != user:
            return self._popular
        body = self._join(self._top[at])
        # The list of a user who watched every film is empty: such a user gets popular films.
        return Answer(body, "known") if body else self._popular._replace(step="seen_all")

    @property
    def popular(self) -> str:
        """The body of the popular list."""
        return self._popular.body

    def replay(self, user: int, inputs: str) -> Answer:
        """The same answer again, from its `inputs`. Raises ValueError for inputs that this recommender never gave."""
        if inputs:
            raise ValueError(f"the inputs {inputs!r} do not come from this model: its answers depend on the user alone")
        return self.recommend(user)

    def problems(self) -> list[str]:
        """Why this recommender cannot answer; empty if it can."""
        known = [self.recommend(int(self._users[0]))] if len(self._users) else []
        return [f"the list '{answer.step}' is empty" for answer in (self._popular, *known) if not answer.body]

    def _join(self, row: object) -> str:
        films, empty = self._films, self._empty
        return ",".join([films[film] for film in row[:SERVED].tolist() if film != empty])  # type: ignore[index]
