from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.exploring import Exploring, recommender_of
from app.model import ArtifactError, load_serving
from app.recommender import Recommender
from tests.unit.app import samples
from tests.unit.app.samples import FEW, FILMS, FULL, SEEN_ALL

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = 6
EMPTY = np.iinfo(np.uint16).max


def explore_arrays() -> dict[str, np.ndarray]:
    """Candidates: of the first user films 40 to 43, of the second 0 and 1, of the third none; 0 to 9 for the others."""
    explore = np.full((3, 8), EMPTY, dtype=np.uint16)
    explore[0, :4] = range(40, 44)
    explore[1, :2] = 0, 1
    return {"explore": explore, "explore_pool": np.arange(10, dtype=np.uint16)}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small artifact, every answer of which explores."""
    return samples.save(tmp_path_factory.mktemp("artifact") / "model", {"explore_share": 1.0}, **explore_arrays())


@pytest.fixture
def recommender(artifact: Path) -> Recommender:
    """What a service makes of it."""
    return recommender_of(load_serving(artifact))


@pytest.mark.parametrize(("user", "candidates"), [(FULL, FILMS[40:44]), (FEW, FILMS[:2]), (UNKNOWN, FILMS[:10])])
def test_one_late_place_is_given_to_a_film_that_few_lists_show(
    artifact: Path, recommender: Recommender, user: int, candidates: tuple[str, ...]
) -> None:
    """One of the user's candidates in the second half; all else is as it was; every place and candidate comes up."""
    plain = Recommender(load_serving(artifact)).recommend(user)
    was, places, films = plain.body.split(","), set[int](), set[str]()
    for _ in range(600):
        answer = recommender.recommend(user)
        now = answer.body.split(",")
        (place,) = [at for at, film in enumerate(now) if film != was[at]]
        assert (len(now), len(set(now)), answer.step) == (len(was), len(was), plain.step)
        places.add(place)
        films.add(now[place])
    assert places == set(range((len(was) + 1) // 2, len(was)))
    assert films == set(candidates)


@pytest.mark.parametrize("user", [FULL, FEW, UNKNOWN])
def test_an_answer_that_explored_is_distinguished_and_replayed(artifact: Path, recommender: Recommender, user: int) -> None:
    """Its inputs are enough, also for a service that explores no more; without inputs it is the plain answer."""
    answers = [recommender.recommend(user) for _ in range(50)]
    assert len({answer.body for answer in answers}) > 1
    again = Exploring(load_serving(artifact), 0.0)
    for answer in answers:
        assert answer.inputs.startswith("explore:")
        assert again.replay(user, answer.inputs) == answer
    assert again.replay(user, "") == again.recommend(user)
    assert again.recommend(user).inputs == ""


def test_who_saw_everything_is_not_explored_with(recommender: Recommender) -> None:
    """There is no film that they have not seen."""
    assert recommender.recommend(SEEN_ALL) == Recommender.recommend(recommender, SEEN_ALL)._replace(inputs="")
    assert recommender.recommend(SEEN_ALL).step == "seen_all"


def test_the_share_is_that_of_the_answers(artifact: Path) -> None:
    """A quarter: 500 of 2,000, give or take five standard errors."""
    exploring = Exploring(load_serving(artifact), 0.25)
    explored = Counter(bool(exploring.recommend(FULL).inputs) for _ in range(2_000))
    assert abs(explored[True] - 500) < 100


@pytest.mark.parametrize("inputs", ["explore:", "explore:-1", "explore:007", "explore:1x", "seed:1", "explore:12345678901"])
def test_inputs_that_were_never_given_are_refused(recommender: Recommender, inputs: str) -> None:
    """With their text."""
    with pytest.raises(ValueError, match="do not come from this code and this model"):
        recommender.replay(FULL, inputs)


def test_inputs_of_an_answer_without_candidates_are_refused(recommender: Recommender) -> None:
    """Who saw everything never had such an answer."""
    with pytest.raises(ValueError, match="do not come from this code and this model"):
        recommender.replay(SEEN_ALL, "explore:5")


@pytest.mark.parametrize("metadata", [{}, {"explore_share": 0.0}])
def test_without_a_share_nothing_is_drawn(tmp_path: Path, metadata: dict[str, float]) -> None:
    """What answers is the plain recommender itself, with or without candidates in the model."""
    made = recommender_of(load_serving(samples.save(tmp_path / "model", metadata, **explore_arrays())))
    assert type(made) is Recommender


def test_a_share_without_candidates_explores_nothing(tmp_path: Path) -> None:
    """The answers are the plain ones."""
    made = recommender_of(load_serving(samples.save(tmp_path / "model", {"explore_share": 1.0})))
    assert [made.recommend(user).inputs for user in (FULL, UNKNOWN)] == ["", ""]


@pytest.mark.parametrize(
    "wrong",
    [
        {"explore": np.zeros((2, 8), dtype=np.uint16)},
        {"explore": np.zeros((3, 8), dtype=np.uint32)},
        {"explore_pool": np.zeros((1, 4), dtype=np.uint16)},
    ],
)
def test_candidates_that_do_not_fit_the_model_are_refused(tmp_path: Path, wrong: dict[str, np.ndarray]) -> None:
    """Rows for other users, another type, or a pool that is no row."""
    folder = samples.save(tmp_path / "model", None, **{**explore_arrays(), **wrong})
    with pytest.raises(ArtifactError, match="explore and explore_pool are not uint16 for each user"):
        load_serving(folder)


def test_a_candidate_outside_the_catalogue_is_refused(tmp_path: Path) -> None:
    """As for any other list."""
    folder = samples.save(tmp_path / "model", None, **{**explore_arrays(), "explore_pool": np.array([50], dtype=np.uint16)})
    with pytest.raises(ArtifactError, match="has the number of a film that does not exist"):
        load_serving(folder)
