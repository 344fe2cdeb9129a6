"""Who without a history gets which list: the popular one, or that of a group where groups are worth it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auto_deployment.demographics import store
from auto_deployment.demographics.lists import GroupChoice, choose, group_lists, join, joined

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from auto_deployment.dataset import Dataset
    from auto_deployment.demographics.store import Person
    from auto_deployment.rank import Rows
    from auto_deployment.ranking.feedback import Feedback


class Cold(NamedTuple):
    """Lists for users without a history, the popular one first, and which of them each of `users` (ids, ascending) gets."""

    names: list[str]
    lists: list[Rows]
    users: npt.NDArray[np.int64]
    list_of: npt.NDArray[np.uint16]
    choice: GroupChoice


def make(data: Path, dataset: Dataset, feedback: Feedback, half_life: float | None, seed: int) -> Cold:
    """Choose inside the data, and make the lists from all of it; `data` is the folder with what is known of people."""
    people = store.read(data)
    labels = store.labels(people, dataset.users)
    choice = choose(feedback, labels, half_life, seed)
    groups = np.zeros(len(dataset.users), dtype="U1") if choice.attributes is None else joined(labels, choice.attributes)
    lists = group_lists(feedback, groups, half_life, choice.prior)
    known = set(dataset.users.tolist())
    others = {user: each for user, each in people.items() if user not in known}
    return of_lists(lists, {} if choice.attributes is None else _groups(others, choice.attributes), choice)


def of_lists(lists: Mapping[str, Rows], groups: Mapping[int, str], choice: GroupChoice) -> Cold:
    """Of `lists` as `group_lists` makes them; `groups` has the group of each user without a history, by id. Pure."""
    names = sorted(name for name in lists if name)
    places = sorted((user, 1 + names.index(name)) for user, name in groups.items() if name in names)
    users, list_of = (np.array([pair[at] for pair in places], dtype=np.int64) for at in (0, 1))
    return Cold(["popular", *names], [lists[name] for name in ("", *names)], users, list_of.astype(np.uint16), choice)


def _groups(people: Mapping[int, Person], attributes: tuple[str, ...]) -> dict[int, str]:
    users = np.array(list(people), dtype=np.int64)
    labels = store.labels(people, users)
    return dict(zip(users.tolist(), join(labels, attributes).tolist(), strict=True))
