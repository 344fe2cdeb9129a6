"""Quality on later ratings: by age, gender and occupation, and by the number of films known of a user. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.ranking.metrics import Interval, interval
from auto_deployment.reports.subgroups import Split, split

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from auto_deployment.evaluation.held_out import HeldOut, RatingErrors
    from auto_deployment.ranking.metrics import UserMetrics

    Floats = npt.NDArray[np.float64]
    Labels = npt.NDArray[np.str_]

# The steps from cold to warm: films known of a user, each up to before the next.
STEPS = (1, 2, 5, 20)


@dataclass(frozen=True)
class Quality:
    """The measures `ndcg_at_10`, `recall_at_20` and `rmse` by name: of all `users`, and by the groups of each attribute."""

    users: int
    all: dict[str, Interval | None]
    by: dict[str, dict[str, Split]]


@dataclass(frozen=True)
class StepQuality:
    """The quality of the lists of users of one step; `recall_above_popularity` compares with the popular list."""

    users: int
    ndcg_at_10: Interval | None
    recall_at_20: Interval | None
    recall_above_popularity: Interval | None


def by_group(held_out: HeldOut, ranker: str, labels: Mapping[str, Labels], seed: int) -> Quality:
    """NDCG@10, Recall@20 and the rating model's RMSE for everybody and for the groups of each attribute in `labels`."""
    lists = held_out.per_user[ranker]
    users, errors = user_errors(held_out.errors)
    measures = {"ndcg_at_10": (lists.users, lists.ndcg), "recall_at_20": (lists.users, lists.recall), "rmse": (users, errors)}
    means = {measure: interval(values, seed) for measure, (_, values) in measures.items()}
    by = {
        attribute: {measure: split(values, groups[of], seed) for measure, (of, values) in measures.items()}
        for attribute, groups in labels.items()
    }
    return Quality(len(lists.users), means, by)


def user_errors(errors: RatingErrors) -> tuple[npt.NDArray[np.int32], Floats]:
    """Each user's own root of the mean square error: a user counts once, however many ratings there are."""
    users, at = np.unique(errors.user, return_inverse=True)
    return users, np.sqrt(np.bincount(at, errors.squared, len(users)) / np.maximum(np.bincount(at, minlength=len(users)), 1))


def by_step(held_out: HeldOut, ranker: str, seed: int) -> dict[str, StepQuality]:
    """Quality by the number of films that were known of a user at the cut."""
    lists, popular = held_out.per_user[ranker], held_out.per_user["popularity"]
    films = held_out.films[lists.users]
    steps = {"nothing known": _step(held_out.absent, None, seed)}
    for low, high in zip(STEPS, (*STEPS[1:], None), strict=True):
        chosen = (films >= low) & (films < (high or films.max(initial=0) + 1))
        name = f"{low} film" if high == low + 1 else f"{low} to {high - 1} films" if high else f"{low} films and more"
        steps[name] = _step(_of(lists, chosen), _of(popular, chosen), seed)
    return steps


def _of(lists: UserMetrics, chosen: npt.NDArray[np.bool_]) -> UserMetrics:
    return type(lists)(lists.users[chosen], lists.ndcg[chosen], lists.recall[chosen])


def _step(ours: UserMetrics, popular: UserMetrics | None, seed: int) -> StepQuality:
    return StepQuality(
        users=len(ours.users),
        ndcg_at_10=interval(ours.ndcg, seed),
        recall_at_20=interval(ours.recall, seed),
        recall_above_popularity=None if popular is None else interval(ours.recall - popular.recall, seed),
    )
