"""Popular lists of groups of users, and whether they are worth more than the popular list of all. Pure.

Which attributes make the groups, and how strongly a group's list is drawn towards everybody's, is chosen on one half of the
people and confirmed on the other. There the groups' lists have to be above the popular one beyond the interval, and above the
lists of the same groups filled by chance: a list that is the popular one shaken up is at times a little better for everybody.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from app.model import RESERVE
from auto_deployment.ranking.factory import RankerFactory
from auto_deployment.ranking.figures import RECALL_AT, Interval, PerUser, interval, per_user, some_of
from auto_deployment.ranking.varied import varied
from auto_deployment.train import UserFilmBias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from auto_deployment.rank import Popularity, Rows
    from auto_deployment.ranking.feedback import Feedback

    Flags = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]
    Labels = npt.NDArray[np.str_]

GROUPINGS = (("gender",), ("age",), ("occupation",), ("age", "gender"))
# A group's own audience counts in full beside so many times the audience of an average film, spread as everybody's is.
PRIORS = (1_000.0, 10_000.0)
FEWEST_USERS = 50
# What wins against so many draws wins by chance once in twenty.
SHUFFLES = 19


@dataclass(frozen=True)
class GroupChoice:
    """What was chosen, and how it did on the `users` that had no part in the choice.

    `attributes` is None where no grouping is good enough there. `quality`, as rankers are chosen by, is of the groups' lists,
    `above_popular` how much more it is, `recall` and `recall_above_popular` the same of Recall@20. `by_chance` is the most that
    groups filled by chance are above the popular list; it is not looked for where the interval says no.
    """

    attributes: tuple[str, ...] | None
    prior: float = 0.0
    users: int = 0
    quality: Interval | None = None
    above_popular: Interval | None = None
    recall: Interval | None = None
    recall_above_popular: Interval | None = None
    by_chance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def join(labels: Mapping[str, Labels], attributes: tuple[str, ...]) -> Labels:
    """Each user's group by several attributes; empty for a user of whom one of them is not known."""
    columns = [labels[name] for name in attributes]
    return np.array([", ".join(each) if all(each) else "" for each in zip(*columns, strict=True)], dtype=np.str_)


def joined(labels: Mapping[str, Labels], attributes: tuple[str, ...]) -> Labels:
    """The same, without groups of fewer than `FEWEST_USERS`."""
    groups = join(labels, attributes)
    names, counts = np.unique(groups, return_counts=True)
    return np.where(np.isin(groups, names[counts >= FEWEST_USERS]), groups, "")


def group_lists(feedback: Feedback, groups: Labels, half_life: float | None, prior: float) -> dict[str, Rows]:
    """The popular films of each group among `groups` (one a user), and under the empty name everybody's: see `varied`."""
    scores = _popularity_of_groups(feedback, groups, half_life, prior)
    return {name: varied(each, feedback, RESERVE) for name, each in scores.items()}


def choose(feedback: Feedback, labels: Mapping[str, Labels], half_life: float | None, seed: int) -> GroupChoice:
    """Pick on one half of the people, confirm on the other; lists for a half are made from all users but its own.

    What is compared are the most popular films, plain: what `varied` makes of them is the same for both sides.
    """
    draw = np.random.default_rng(seed)
    half = draw.random(feedback.shape[0]) < 0.5
    tried = [
        (gain.quality.mean(), attributes, prior)
        for attributes, prior in product(GROUPINGS, PRIORS)
        if (gain := _gain(feedback, joined(labels, attributes), half, half_life, prior)[1]) is not None
    ]
    if not tried:
        return GroupChoice(None)
    _, attributes, prior = max(tried, key=lambda one: one[0])
    groups = joined(labels, attributes)
    ours, above = _gain(feedback, groups, ~half, half_life, prior)
    if ours is None or above is None:
        return GroupChoice(None)
    told = GroupChoice(
        None,
        prior,
        len(ours.users),
        interval(ours.quality, seed),
        interval(above.quality, seed),
        interval(ours.recall, seed),
        interval(above.recall, seed),
    )
    if told.above_popular is None or told.above_popular.low <= 0:
        return told
    shuffled = [_gain(feedback, _shuffled(groups, draw), ~half, half_life, prior)[1] for _ in range(SHUFFLES)]
    chance = max(float(each.quality.mean()) for each in shuffled if each is not None)
    return replace(told, attributes=attributes if told.above_popular.mean > chance else None, by_chance=chance)


def _shuffled(groups: Labels, draw: np.random.Generator) -> Labels:
    """The same people in groups of the same sizes, by chance."""
    moved = groups.copy()
    moved[groups != ""] = draw.permutation(groups[groups != ""])
    return moved


def _gain(
    feedback: Feedback, groups: Labels, held: Flags, half_life: float | None, prior: float
) -> tuple[PerUser, PerUser] | tuple[None, None]:
    """Of the users `held` that are in a group: the figures of their group's list, made without them, and above everybody's."""
    ratings = feedback.ratings
    scores = _popularity_of_groups(_of(feedback, ~held), np.where(held, "", groups), half_life, prior)
    lists = {name: np.argsort(-each, kind="stable").astype(np.int32)[:RECALL_AT] for name, each in scores.items()}
    users = some_of(np.flatnonzero(held & np.isin(groups, [name for name in lists if name])).astype(np.int32))
    relevant = ratings[(ratings.stars >= feedback.liked_from) & held[ratings.user]]
    if not np.isin(relevant.user, users).any():
        return None, None
    own = np.stack([lists[name] for name in groups[users].tolist()])
    ours = per_user(users, own, relevant)
    popular = per_user(users, np.tile(lists[""], (len(users), 1)), relevant)
    return ours, PerUser(ours.users, ours.ndcg - popular.ndcg, ours.recall - popular.recall)


def _popularity_of_groups(feedback: Feedback, groups: Labels, half_life: float | None, prior: float) -> dict[str, Floats]:
    whole = _popularity(feedback, half_life)
    towards = prior * whole.scores / max(float(whole.scores.sum()), 1e-9)
    names = np.unique(groups[groups != ""]).tolist()
    own = {name: _popularity(_of(feedback, groups == name), half_life).scores for name in names}
    return {"": whole.scores, **{name: scores + towards for name, scores in own.items()}}


def _of(feedback: Feedback, users: Flags) -> Feedback:
    ratings, watches = feedback.ratings, feedback.watches
    return replace(feedback, ratings=ratings[users[ratings.user]], watches=watches[users[watches.user]])


def _popularity(feedback: Feedback, half_life: float | None) -> Popularity:
    return RankerFactory(feedback, UserFilmBias(), 0).popularity(half_life)
