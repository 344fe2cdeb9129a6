"""A little exploration: in some answers, a film that few lists show takes one of the late places.

One random number decides which film and which place. The answer carries this number in `inputs`. The number, the user and the
model together give the same answer again.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import numpy as np

from app.recommender import Answer, Recommender

if TYPE_CHECKING:
    from app.model import Array, ServingModel

INPUTS = re.compile(r"explore:(0|[1-9][0-9]{0,9})")
DRAW_BITS = 32
NOTHING = np.empty(0, dtype=np.uint16)


class Exploring(Recommender):
    """Answers as `Recommender` does, but a share of the answers explores. The other answers have no `inputs` and never vary."""

    def __init__(self, model: ServingModel, share: float) -> None:
        super().__init__(model)
        self._below = int(share * 2**DRAW_BITS)
        self._explore = model.explore
        self._pool = model.explore_pool

    def recommend(self, user: int) -> Answer:
        """The answer for `user`, any whole number from 0 to below 2^63."""
        answer = super().recommend(user)
        if random.getrandbits(DRAW_BITS) >= self._below:
            return answer
        return self._explored(user, answer, random.getrandbits(DRAW_BITS))

    def replay(self, user: int, inputs: str) -> Answer:
        """The same answer again, from its `inputs`. Raises ValueError for inputs that this recommender never gave."""
        answer = super().recommend(user)
        if not inputs:
            return answer
        match = INPUTS.fullmatch(inputs)
        explored = answer if match is None else self._explored(user, answer, int(match[1]))
        if explored.inputs != inputs:
            raise ValueError(f"the inputs {inputs!r} do not come from this code and this model")
        return explored

    def _explored(self, user: int, answer: Answer, seed: int) -> Answer:
        """The answer with one candidate in a place of its second half; unchanged if there is no candidate or no such place."""
        films, candidates = answer.body.split(","), self._candidates(user, answer)
        late = len(films) - (len(films) + 1) // 2
        if not len(candidates) or not late:
            return answer
        films[len(films) - 1 - seed % late] = self._films[int(candidates[(seed >> 8) % len(candidates)])]
        return Answer(",".join(films), answer.step, f"explore:{seed}")

    def _candidates(self, user: int, answer: Answer) -> Array:
        """Rows of films that may take a place; empty for a user who watched everything."""
        if self._explore is None or self._pool is None or answer.step == "seen_all":
            return NOTHING
        if answer.step != "known":
            return self._pool
        row = self._explore[int(self._users.searchsorted(user))]
        left: Array = row[row != self._empty]
        return left


def recommender_of(model: ServingModel) -> Recommender:
    """The recommender for a model: it explores if the metadata has an `explore_share`."""
    share = float(model.metadata.get("explore_share") or 0)
    return Exploring(model, share) if share else Recommender(model)
