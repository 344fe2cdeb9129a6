from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fresh.list_model import ComputedList, ListModel, NewLike, _limit, read_source, source_text
from app.model import ArtifactError
from auto_deployment.ranking.list_weights import seen_gaps
from auto_deployment.training.seen import Seen
from tests.unit.app.fresh.versions import COUNT, FEW, FULL, SEEN, SEEN_ALL, list_model

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = np.empty(0, dtype=np.int64)
LIKES = st.lists(
    st.builds(NewLike, st.integers(0, COUNT - 1), st.integers(0, 255)), max_size=9, unique_by=lambda each: each.film
)
FILMS = st.sets(st.integers(0, COUNT - 1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ListModel:
    """The version's list model."""
    return list_model(tmp_path_factory.mktemp("fresh") / "model")


@pytest.mark.parametrize(("user", "row"), [(FULL, 0), (FEW, 1), (SEEN_ALL, 2), (FULL + 1, None), (2**63 - 1, None)])
def test_a_known_user_has_a_row_and_seen_films(model: ListModel, user: int, row: int | None) -> None:
    """Anybody else has neither."""
    assert model.row_of(user) == row
    assert model.seen_films(row).tolist() == ([] if row is None else SEEN[row])


@given(st.lists(st.sets(st.integers(0, 3000), max_size=40), max_size=6))
def test_seen_films_are_kept_as_gaps(users: list[set[int]]) -> None:
    """The films of each user come back from the bytes, with gaps of any size."""
    films = [sorted(each) for each in users]
    starts = np.cumsum([0, *map(len, films)])
    gaps, ends = seen_gaps(Seen(starts, np.array([film for each in films for film in each], dtype=np.int32)))
    model = object.__new__(ListModel)
    model._arrays = {"seen_gaps": gaps, "seen_ends": ends}
    assert [model.seen_films(row).tolist() for row in range(len(films))] == films


def test_a_like_brings_the_films_that_it_speaks_for(model: ListModel) -> None:
    """A user without a history gets them first, then the popular films, of equal ones the first."""
    found = model.compute(None, (NewLike(20, 255), NewLike(30, 179)), np.array([20, 30]))
    assert found.films[:5] == (21, 31, 0, 1, 2)
    assert len(found.films) == 40


def test_a_list_leaves_out_what_was_seen_or_struck(model: ListModel) -> None:
    """Where fewer than forty films are left, the list is as short."""
    assert model.compute(1, (), np.array([46])).films == (45, 47, 48, 49)
    assert model.compute(2, (NewLike(3, 255),), NOTHING).films == ()


def test_a_new_grade_counts_instead_of_an_old_one(model: ListModel) -> None:
    """FULL liked film 42, which speaks for 43; a grade of 0 takes that back. FEW liked film 3."""
    taste = [model._taste(1, likes) for likes in ((), (NewLike(3, 9),), (NewLike(3, 0),))]
    assert [(films.tolist(), grades.tolist()) for films, grades in taste] == [([3], [200]), ([3], [9]), ([], [])]


@given(st.sampled_from([None, 0, 1, 2]), LIKES.map(tuple), FILMS)
def test_a_list_is_computed_again_from_its_source(
    model: ListModel, row: int | None, likes: tuple[NewLike, ...], struck: set[int]
) -> None:
    """Likes and left-out places give the same films, without seen and struck films."""
    found = model.compute(row, likes, np.array(sorted(struck), dtype=np.int64))
    assert not {*found.films} & struck
    assert row is None or not {*found.films} & {*SEEN[row]}
    source = source_text(likes, found.places)
    assert read_source(source) == (likes, found.places)
    assert model.compute_again(row, *read_source(source)) == found.films


@pytest.mark.parametrize("text", ["", "AAAA", "a.b.c", "AAAA.", "!!!!.AA", "AAAAAAA.\xe4"])
def test_any_other_text_is_no_source(text: str) -> None:
    """One line says so."""
    with pytest.raises(ValueError, match="is not what a list was computed from"):
        read_source(text)


def test_grades_follow_the_metadata(model: ListModel) -> None:
    """Ratings by the table, minutes by the share of the film's length; a film that was only begun is no like."""
    assert [model.grade_of_stars(stars) for stars in (1, 3, 5, 4.5)] == [0, 179, 255, 0]
    assert [model.grade_of_minutes(7, minutes) for minutes in (0, 10, 11, 50, 100, 500)] == [0, 0, 23, 108, 217, 217]


def test_a_version_without_a_fresh_part_is_named(artifact: Path, tmp_path: Path) -> None:
    """The error says what to train with. So it is where an array is missing."""
    with pytest.raises(ArtifactError, match="train it with FRESH=true"):
        ListModel(artifact)
    list_model(tmp_path / "model")
    (tmp_path / "model" / "fresh" / "popular.npy").unlink()
    with pytest.raises(ArtifactError, match=r"popular\.npy"):
        ListModel(tmp_path / "model")


def test_a_computed_list_is_at_most_forty_films(model: ListModel) -> None:
    """Without a like they are those of the version's own list."""
    assert model.compute(None, (), NOTHING) == ComputedList(tuple(range(10, 50)), ())


@given(st.integers(0, 2**32 - 1), st.integers(1, 4000), st.integers(1, 2500), st.sampled_from([2, 50, 10**6]))
def test_the_limit_leaves_the_best_scores_and_few_others(seed: int, films: int, count: int, values: int) -> None:
    """Whatever scores are equal: the best `count` are those of a whole sort."""
    scores = np.random.default_rng(seed).integers(0, values, films).astype(np.float64)
    count = min(count, films)
    candidates = np.flatnonzero(scores >= _limit(scores, count))
    best = candidates[np.argsort(-scores[candidates], kind="stable")][:count]
    assert best.tolist() == np.argsort(-scores, kind="stable")[:count].tolist()


@given(st.floats(0.125, 1300, width=32), st.sampled_from([0.1, 0.5, 0.9]))
def test_milestones_are_the_first_minutes_past_a_share(length: float, share: float) -> None:
    """By the same division as the watched share. A film without a length has none."""
    model = object.__new__(ListModel)
    model._minutes = np.array([length, 0], dtype=np.float32)
    (found,), nothing = model.minutes_past([share])
    assert model.share_watched(0, found - 1) <= share < model.share_watched(0, found)
    assert nothing == frozenset()
