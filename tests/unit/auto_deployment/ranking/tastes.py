"""Feedback whose answer is known, for the tests of rankers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.ranker_factory import RankerFactory, Tuning
from auto_deployment.training.surprise_svd import SurpriseSVD
from tests.unit.auto_deployment.samples import SCALE, ratings_of, watches_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.ranking.ranker import Ranker

USERS, FILMS = 60, 20


def feedback_of(
    rated: Sequence[tuple[int, int, float]], users: int, films: int, watched: Sequence[tuple[int, int, int]] = ()
) -> Feedback:
    """Ratings (user, film, stars) and watches (user, film, minutes)."""
    watches = watches_of([(user, film) for user, film, _ in watched])
    minutes = np.array([each for _, _, each in watched], dtype=np.int32)
    return Feedback(ratings_of(rated), replace(watches, minutes=minutes), (users, films), SCALE)


def two_tastes() -> Feedback:
    """Even users like even films and odd ones odd films: each all of their ten but two. Even films have the larger audience.

    User 0 has rated a single even film, user 1 a single odd one; the last user is unknown.
    """
    rated = [(user, film, 5.0) for user in range(2, USERS - 1) for film in range(user % 2, FILMS, 2) if (film // 2 + user) % 5]
    rated += [(user, film, 2.0) for user in range(3, USERS - 1, 2) for film in (0, 2)]
    return feedback_of([*rated, (0, 4, 5.0), (1, 5, 5.0)], USERS, FILMS)


def ranker_of(name: str, feedback: Feedback, seed: int = 0) -> Ranker:
    """With ridges that fit so few users."""
    tuning = Tuning(ease_ridge=5.0, als_ridge=0.5, popularity_share=0.01, blend_popularity_share=0.01)
    return RankerFactory(feedback, SurpriseSVD(), seed).make(name, tuning)
