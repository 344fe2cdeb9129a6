"""Every ranker by its name and its tuning, made from the same feedback. Rankers share their common parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from app.model import row_type
from auto_deployment.ranking.als import ImplicitAls
from auto_deployment.ranking.ease import DENSE_FILMS, Ease
from auto_deployment.ranking.implicit_ratings import lengths
from auto_deployment.ranking.list_weights import item_weights
from auto_deployment.ranking.ranker import ByRating, Popularity
from auto_deployment.ranking.scorers import ByScores, FadingPopularity

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy import sparse

    from app.model import Array
    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.list_weights import ItemWeights
    from auto_deployment.ranking.ranker import Ranker
    from auto_deployment.ranking.scorers import Scorer
    from auto_deployment.training.rating_model import Factors, Trainer

SCORED = ("ease", "als", "blend")
NAMES = ("popularity", "svd", *SCORED)
# Of each film in the artifact; all 8,000 x 8,000 of them would be 256 MB.
KEPT_WEIGHTS = 50
PARTS = {"blend": ("ease", "als")}


@dataclass(frozen=True)
class Tuning:
    """What can be chosen about rankers.

    `half_life` of popularity is a share of the time that the ratings span, None for none. The ridges are those of EASE and
    ALS. `popularity_share` is the weight of popularity's scores (of a user without likes) in EASE and ALS. In the blend the
    weights of ALS and popularity are relative to EASE's. The blend's weights are its own: tuning them changes no other ranker.
    """

    half_life: float | None = None
    ease_ridge: float = 200.0
    als_ridge: float = 5.0
    als_share: float = 0.4
    popularity_share: float = 0.1
    blend_popularity_share: float = 0.1


def needed(name: str) -> tuple[str, ...]:
    """The rankers whose tuning is part of `name`'s tuning, in the order of `NAMES`: popularity, its parts, itself."""
    return tuple(each for each in NAMES if each in {"popularity", name, *PARTS.get(name, ())})


class RankerFactory:
    """Makes rankers from one feedback. The same feedback, seed, name and tuning make the same ranker.

    The factory keeps only the last EASE and the last ALS, because an item matrix is large. `dense_films` is EASE's `most`.
    """

    def __init__(self, feedback: Feedback, trainer: Trainer, seed: int, dense_films: int = DENSE_FILMS) -> None:
        self.feedback = feedback
        self._trainer = trainer
        self._seed = seed
        self._dense_films = dense_films
        # Caches of methods would keep every instance alive; caches of the instance end with the instance.
        self.popularity: Callable[[float | None], Popularity] = cache(self._popularity)
        self._ease: Callable[[float], Ease] = lru_cache(1)(self._make_ease)
        self._als: Callable[[float], ImplicitAls] = lru_cache(1)(self._make_als)

    def make(self, name: str, tuning: Tuning) -> Ranker:
        """The ranker `name`, one of `NAMES`."""
        popularity = self.popularity(tuning.half_life)
        if name == "popularity":
            return popularity
        if name == "svd":
            return ByRating(self.factors, self.feedback.ratings, popularity)
        if name in SCORED:
            share = tuning.blend_popularity_share if name == "blend" else tuning.popularity_share
            return ByScores(name, [*self._scorers(name, tuning), (self._fading(popularity), share)], popularity)
        raise ValueError(f"no ranker {name!r}: there are {', '.join(NAMES)}")

    def kept(self, name: str, tuning: Tuning) -> dict[str, Array]:
        """The arrays of the ranker `name` in the artifact. `auto_deployment.provenance.explanation` explains lists by them."""
        parts: tuple[str, ...] = PARTS.get(name, (name,))
        found: dict[str, Array] = {}
        if name == "popularity":
            order = self.popularity(tuning.half_life).order
            found["popularity_films"] = order.astype(row_type(len(order)))
        if "ease" in parts:
            found["ease_films"], found["ease_weights"] = self._ease(tuning.ease_ridge).strongest(KEPT_WEIGHTS)
        if "als" in parts:
            side = self._als(tuning.als_ridge).side
            found |= {"als_films": side.factors.astype(np.float32), "als_squares": side.squares}
        if name in SCORED and len(self.feedback.watches):
            found["film_minutes"] = lengths(self.feedback.watches, self.feedback.shape[1]).astype(np.float32)
        return found

    def weights(self, name: str, tuning: Tuning) -> ItemWeights:
        """The ranker `name` as weights of films for films, see `list_weights`. `svd` has those of popularity alone."""
        parts: tuple[str, ...] = PARTS.get(name, (name,))
        share = tuning.blend_popularity_share if name == "blend" else tuning.popularity_share
        scores = self.popularity(tuning.half_life).scores
        ease = self._ease(tuning.ease_ridge) if "ease" in parts else None
        als = self._als(tuning.als_ridge) if "als" in parts else None
        popular = scores * share / max(float(scores.max(initial=0)), 1e-9)
        return item_weights(popular, ease, als, tuning.als_share if name == "blend" else 1.0)

    @cached_property
    def taste(self) -> sparse.csr_array:
        """How much each user likes each film, see `Feedback.taste`."""
        return self.feedback.taste()

    @cached_property
    def factors(self) -> Factors:
        """The rating model of the same ratings."""
        return self._trainer.fit(self.feedback.ratings, self.feedback.shape, self.feedback.scale, self._seed)

    def _scorers(self, name: str, tuning: Tuning) -> list[tuple[Scorer, float]]:
        """The scorers of a ranker of `SCORED`, with their weights, without popularity."""
        if name == "ease":
            return [(self._ease(tuning.ease_ridge), 1.0)]
        if name == "als":
            return [(self._als(tuning.als_ridge), 1.0)]
        if name == "blend":
            return [(self._ease(tuning.ease_ridge), 1.0), (self._als(tuning.als_ridge), tuning.als_share)]
        raise ValueError(f"no scores for ranker {name!r}")

    def _fading(self, popularity: Popularity) -> FadingPopularity:
        return FadingPopularity(popularity, np.diff(self.taste.indptr))

    def _popularity(self, half_life: float | None) -> Popularity:
        ratings, watches = self.feedback.ratings, self.feedback.watches
        times = [each.time for each in (ratings, watches) if len(each)]
        span = float(max(each.max() for each in times) - min(each.min() for each in times)) if times else 0.0
        life = half_life * span if half_life and span else None
        return Popularity(ratings, watches, self.feedback.shape[1], self.feedback.scale, life)

    def _make_ease(self, ridge: float) -> Ease:
        return Ease(self.taste, ridge, self._dense_films)

    def _make_als(self, ridge: float) -> ImplicitAls:
        return ImplicitAls(self.taste, ridge, self._seed)
