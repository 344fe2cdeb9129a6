from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model import RESERVE, load_serving
from app.recommender import SERVED, Answer, Recommender
from tests.unit.app import samples
from tests.unit.app.samples import FEW, FILMS, FULL, POPULAR, SEEN_ALL

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    """Answers from the small artifact's files."""
    return Recommender(load_serving(samples.save(tmp_path_factory.mktemp("artifact") / "model")))


def test_a_known_user_gets_the_first_20_of_their_40(recommender: Recommender) -> None:
    """The user's own row, best first, cut at 20."""
    assert recommender.recommend(FULL) == Answer(",".join(FILMS[:20]), "known")


def test_a_user_with_few_films_left_gets_these(recommender: Recommender) -> None:
    """Places that no film fills are left out, and nothing is put in their place."""
    assert recommender.recommend(FEW) == Answer(",".join(FILMS[49:44:-1]), "known")


def test_a_user_who_saw_everything_gets_popular_films(recommender: Recommender) -> None:
    """No film left: the popular list, with a step of its own."""
    assert recommender.recommend(SEEN_ALL) == Answer(POPULAR, "seen_all")


@pytest.mark.parametrize("user", [0, FULL - 1, FULL + 1, FEW - 1, FEW + 1, SEEN_ALL - 1, SEEN_ALL + 1, 2**63 - 1])
def test_an_unknown_user_gets_popular_films(recommender: Recommender, user: int) -> None:
    """Ids below, between, next to and above the known ones, from the lowest to the highest."""
    assert recommender.recommend(user) == Answer(POPULAR, "popular")


@given(user=st.integers(0, 2**63 - 1) | st.sampled_from([FULL, FEW, SEEN_ALL]))
def test_every_answer_has_the_form_of_the_contract(recommender: Recommender, user: int) -> None:
    """Whoever asks gets 1 to 20 films of the catalogue, none twice, and the same again."""
    answer = recommender.recommend(user)
    films = answer.body.split(",")
    assert 1 <= len(films) <= SERVED
    assert len(set(films)) == len(films)
    assert set(films) <= set(FILMS)
    assert recommender.recommend(user) == answer


@pytest.mark.parametrize("user", [0, FULL, 2**63 - 1])
def test_without_known_users_everybody_gets_popular_films(tmp_path: Path, user: int) -> None:
    """A model of no users answers all the same."""
    recommender = Recommender(load_serving(samples.save(tmp_path / "model", None, **samples.serving(users=()))))
    assert recommender.recommend(user) == Answer(POPULAR, "popular")
    assert recommender.problems() == []


def test_few_popular_films_are_enough(tmp_path: Path) -> None:
    """One popular film alone is an answer."""
    cold = np.full((1, RESERVE), 65_535, dtype=np.uint16)
    cold[0, 0] = 7
    recommender = Recommender(load_serving(samples.save(tmp_path / "model", cold=cold)))
    assert recommender.recommend(1).body == FILMS[7]


def test_a_catalogue_of_more_films_than_two_bytes_can_count(tmp_path: Path) -> None:
    """The films beyond row 65,535 can be recommended."""
    films = tuple(f"film+{number}" for number in range(70_000))
    arrays = samples.serving(films)
    arrays["top"][0, :2] = 69_999, 65_535
    recommender = Recommender(load_serving(samples.save(tmp_path / "model", None, **arrays)))
    assert recommender.recommend(FULL).body.startswith("film+69999,film+65535,film+2,")


def test_a_sound_model_has_no_problems(recommender: Recommender) -> None:
    """It can recommend, and tells the version it does so from."""
    assert recommender.problems() == []
    assert recommender.version == samples.VERSION


def test_an_empty_list_is_a_problem(artifact: Path) -> None:
    """A recommender that would give an empty answer says which."""
    model = load_serving(artifact)
    object.__setattr__(model, "cold", np.full((1, RESERVE), 65_535, dtype=np.uint16))
    assert Recommender(model).problems() == ["the list 'popular' is empty"]
