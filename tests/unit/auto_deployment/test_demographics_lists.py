from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from auto_deployment.demographics import store
from auto_deployment.demographics.cold import make, of_lists
from auto_deployment.demographics.lists import FEWEST_USERS, GroupChoice, choose, group_lists, joined
from auto_deployment.demographics.store import Person
from auto_deployment.ranking.feedback import Feedback
from tests.unit.auto_deployment.samples import SCALE, dataset_of, ratings_of, watches_of

if TYPE_CHECKING:
    from pathlib import Path


USERS, FILMS = 400, 120


def rated_by_taste(seed: int) -> list[tuple[int, int, float]]:
    """Twelve films each: of even users mostly even films, of odd ones odd films, the first ones more often."""
    draw, rated = np.random.default_rng(seed), []
    for user in range(USERS):
        wanted = 1 / (np.arange(FILMS) + 10) * np.where(np.arange(FILMS) % 2 == user % 2, 6, 1)
        films = draw.choice(FILMS, 12, replace=False, p=wanted / wanted.sum())
        rated += [(user, int(film), float(draw.choice([3, 4, 5, 5]))) for film in films]
    return rated


def feedback(seed: int) -> Feedback:
    """Ratings of users with two tastes."""
    return Feedback(ratings_of(rated_by_taste(seed)), watches_of([]), (USERS, FILMS), SCALE)


def labels_of(gender: np.ndarray) -> dict[str, np.ndarray]:
    """A gender each; nothing else is known."""
    nothing = np.full(USERS, "")
    return {"age": nothing, "gender": gender, "occupation": nothing}


def test_groups_of_planted_tastes_are_chosen() -> None:
    """What the groups like is above what all like, beyond the interval and beyond chance."""
    choice = choose(feedback(1), labels_of(np.where(np.arange(USERS) % 2, "F", "M")), None, 0)
    assert choice.attributes == ("gender",)
    assert choice.above_popular is not None
    assert choice.recall_above_popular is not None
    assert choice.by_chance is not None
    assert choice.above_popular.low > 0.03
    assert choice.recall_above_popular.low > 0
    assert choice.above_popular.mean > choice.by_chance
    assert 150 < choice.users < 250


@pytest.mark.parametrize("seed", range(6))
def test_groups_by_chance_are_not_used(seed: int) -> None:
    """They tell nothing of tastes, so that the popular list stays."""
    gender = np.random.default_rng(seed).choice(["F", "M"], USERS)
    assert choose(feedback(seed), labels_of(gender), None, seed).attributes is None


def test_without_known_people_there_is_nothing_to_choose() -> None:
    """No label at all, or fewer people than a group needs."""
    few = np.where(np.arange(USERS) < FEWEST_USERS - 1, "F", "")
    for gender in (np.full(USERS, ""), few):
        assert choose(feedback(2), labels_of(gender), None, 0) == GroupChoice(None)


def test_a_group_needs_every_attribute_and_enough_users() -> None:
    """Who lacks one is in none."""
    labels = {"age": np.array(["a"] * 60 + ["b"] * 30), "gender": np.array(["F"] * 55 + [""] * 5 + ["M"] * 30)}
    groups = joined(labels, ("age", "gender"))
    assert groups.tolist() == ["a, F"] * 55 + [""] * 35


def test_a_list_of_a_group_is_drawn_towards_everybodys() -> None:
    """A small prior leaves the group's own order, a large one everybody's."""
    groups = np.where(np.arange(USERS) % 2, "F", "M")
    own, towards = (group_lists(feedback(1), groups, None, prior) for prior in (1.0, 1e9))
    assert (own["F"][:10] % 2 == 1).all()
    assert (own["M"][:10] % 2 == 0).all()
    assert towards["F"][:10].tolist() == towards["M"][:10].tolist() == towards[""][:10].tolist()


def test_users_without_a_history_are_sent_to_the_list_of_their_group() -> None:
    """In order of their ids; a group without a list is sent nowhere."""
    lists = {"": np.array([1, 2]), "M": np.array([3]), "F": np.array([2])}
    cold = of_lists(lists, {9: "M", 4: "F", 5: "X", 6: ""}, GroupChoice(("gender",)))
    assert (cold.names, [each.tolist() for each in cold.lists]) == (["popular", "F", "M"], [[1, 2], [2], [3]])
    assert (cold.users.tolist(), cold.list_of.tolist()) == ([4, 9], [1, 2])


def test_lists_are_made_for_people_that_the_data_does_not_know(tmp_path: Path) -> None:
    """Users 0, 10, 20, ... of the data make the lists; 5 and 7, who did nothing yet, get theirs."""
    dataset = dataset_of(rated_by_taste(1), USERS, FILMS)
    people = {int(user): Person(30, "F" if at % 2 else "M") for at, user in enumerate(dataset.users.tolist())}
    store.write(tmp_path, {**people, 5: Person(30, "F"), 7: Person(70, "M"), 8: Person()})
    cold = make(tmp_path, dataset, Feedback.of(dataset, SCALE), None, 0)
    assert cold.choice.attributes is not None
    assert "gender" in cold.choice.attributes
    assert 5 in cold.users.tolist()
    assert not set(cold.users.tolist()) & {8, *people}
    mine = cold.lists[cold.list_of[cold.users.tolist().index(5)]]
    assert (mine[:10] % 2 == 1).sum() >= 8


def test_nobody_known_leaves_the_popular_list_alone(tmp_path: Path) -> None:
    """As before there was any table of people."""
    dataset = dataset_of(rated_by_taste(1), USERS, FILMS)
    cold = make(tmp_path, dataset, Feedback.of(dataset, SCALE), None, 0)
    assert (cold.names, cold.users.size, cold.choice) == (["popular"], 0, GroupChoice(None))
