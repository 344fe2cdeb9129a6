"""The policy: who gets which list. A known user gets the row computed for them, everybody else what is popular."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from app.model import ServingModel

SERVED = 20


class Answer(NamedTuple):
    """`body`: 1 to 20 film ids joined by commas, best first. `step`: how they were come by.

    `inputs` is what `replay` needs besides the user: up to 64 of `!` to `~`, and nothing while the answer is always the same.
    """

    body: str
    step: str
    inputs: str = ""


class Recommender:
    """Answers from one artifact, the same answer each time."""

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
        # Who saw every film there is gets popular ones all the same.
        return Answer(body, "known") if body else self._popular._replace(step="seen_all")

    def replay(self, user: int, inputs: str) -> Answer:
        """The answer again that had these `inputs`. Raises ValueError for inputs that this recommender never gave."""
        if inputs:
            raise ValueError(f"the inputs {inputs!r} are not of this code: its answers depend on user and model alone")
        return self.recommend(user)

    def problems(self) -> list[str]:
        """Why this cannot recommend: empty when it can."""
        known = [self.recommend(int(self._users[0]))] if len(self._users) else []
        return [f"the list '{answer.step}' is empty" for answer in (self._popular, *known) if not answer.body]

    def _join(self, row: object) -> str:
        films, empty = self._films, self._empty
        return ",".join([films[film] for film in row[:SERVED].tolist() if film != empty])  # type: ignore[index]
