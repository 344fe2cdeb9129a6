"""Quality on later ratings: by age, gender and occupation, and by how much was known of a user. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_deployment.ranking.metrics import interval
from auto_deployment.reports.subgroups import split

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from auto_deployment.evaluation.held_out import HeldOut, RatingErrors
    from auto_deployment.ranking.metrics import PerUser

    Floats = npt.NDArray[np.float64]
    Labels = npt.NDArray[np.str_]

# The steps from cold to warm: films known of a user, from here up to before the next.
STEPS = (1, 2, 5, 20)


def by_group(held_out: HeldOut, ranker: str, labels: Mapping[str, Labels], seed: int) -> dict[str, Any]:
    """NDCG@10, Recall@20 and the rating model's RMSE for everybody and for the groups of each attribute in `labels`."""
    lists = held_out.per_user[ranker]
    users, errors = user_errors(held_out.errors)
    measures = {"ndcg_at_10": (lists.users, lists.ndcg), "recall_at_20": (lists.users, lists.recall), "rmse": (users, errors)}
    told: dict[str, Any] = {"users": len(lists.users), "all": {}, "by": {}}
    for measure, (whose, values) in measures.items():
        told["all"][measure] = interval(values, seed)
        for attribute, groups in labels.items():
            told["by"].setdefault(attribute, {})[measure] = asdict(split(values, groups[whose], seed))
    return told


def user_errors(errors: RatingErrors) -> tuple[npt.NDArray[np.int32], Floats]:
    """Each user's own root of the mean square error: a user counts once, however much they rate."""
    users, at = np.unique(errors.user, return_inverse=True)
    return users, np.sqrt(np.bincount(at, errors.squared, len(users)) / np.maximum(np.bincount(at, minlength=len(users)), 1))


def by_step(held_out: HeldOut, ranker: str, seed: int) -> dict[str, Any]:
    """Quality for users of whom so many films were known at the cut, and by how much it is above the popular list's."""
    lists, popular = held_out.per_user[ranker], held_out.per_user["popularity"]
    films = held_out.films[lists.users]
    told = {"nothing known": _step(held_out.absent, None, seed)}
    for low, high in zip(STEPS, (*STEPS[1:], None), strict=True):
        some = (films >= low) & (films < (high or films.max(initial=0) + 1))
        name = f"{low} film" if high == low + 1 else f"{low} to {high - 1} films" if high else f"{low} films and more"
        told[name] = _step(_of(lists, some), _of(popular, some), seed)
    return told


def _of(figures: PerUser, some: npt.NDArray[np.bool_]) -> PerUser:
    return type(figures)(figures.users[some], figures.ndcg[some], figures.recall[some])


def _step(ours: PerUser, popular: PerUser | None, seed: int) -> dict[str, Any]:
    return {
        "users": len(ours.users),
        "ndcg_at_10": interval(ours.ndcg, seed),
        "recall_at_20": interval(ours.recall, seed),
        "recall_above_popularity": None if popular is None else interval(ours.recall - popular.recall, seed),
    }
