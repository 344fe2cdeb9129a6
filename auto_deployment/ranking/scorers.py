"""Rankers that score films: the interface of a scorer, and the ranker that orders films by scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from app.fresh.list_model import FADES_AT
from auto_deployment.ranking.ranker import top_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from auto_deployment.ranking.ranker import Indices, Popularity
    from auto_deployment.training.seen import Seen

    Floats = npt.NDArray[np.float32]


class Scorer(Protocol):
    """Scores every film for users of its feedback: how much a user would like the film, about 0 to 1.

    Scores of several scorers can be added up. A user without feedback gets 0 for every film.
    """

    def scores(self, start: int, stop: int) -> Floats:
        """The scores of the users from `start` to before `stop`: users x films."""
        ...


class FadingPopularity:
    """Popularity as scores that fade as a user's likes grow, without a step.

    1 for the most popular film and in proportion for the others, times `FADES_AT / (FADES_AT + likes)`.
    """

    def __init__(self, popularity: Popularity, likes: npt.NDArray[np.int64]) -> None:
        scores = popularity.scores
        self._row = (scores / max(float(scores.max(initial=0)), 1e-9)).astype(np.float32)
        self._shares = (FADES_AT / (FADES_AT + likes)).astype(np.float32)

    def scores(self, start: int, stop: int) -> Floats:
        """See `Scorer`."""
        faded: Floats = np.multiply.outer(self._shares[start:stop], self._row)
        return faded


class ByScores:
    """Ranks by a weighted sum of scores. A user with the same score for all films gets the popular list."""

    def __init__(self, name: str, parts: Sequence[tuple[Scorer, float]], popularity: Popularity) -> None:
        self.name = name
        self._parts = parts
        self._popularity = popularity

    def top(self, start: int, stop: int, seen: Seen, count: int) -> Indices:
        """See `auto_deployment.ranking.ranker.Ranker`."""
        (first, weight), *others = self._parts
        scores = first.scores(start, stop) * np.float32(weight)
        for scorer, share in others:
            scores += scorer.scores(start, stop) * np.float32(share)
        unknown = ~(scores != scores[:, :1]).any(axis=1)
        rows = top_of(scores, *seen.pairs(start, stop), count)
        if unknown.any():
            rows[unknown] = self._popularity.top(start, stop, seen, count)[unknown]
        return rows
