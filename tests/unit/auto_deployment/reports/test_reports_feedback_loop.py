from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.model import ServingModel, load_serving
from auto_deployment.reports.feedback_loop import NewWatches, Pairs, lists_for, new_pairs, overlap, watched
from auto_deployment.reports.previous_version import Shown, load_previous, read_shown, write_shown
from tests.unit.app import samples
from tests.unit.app.samples import FEW, FILMS, FULL
from tests.unit.auto_deployment.samples import dataset_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture
def last(tmp_path: Path) -> ServingModel:
    """The small artifact of version 3 shows films 0 to 19 to `FULL`, 49 to 45 to `FEW`, and 10 to 29 to unknown users."""
    return load_serving(samples.save(tmp_path / "model"))


def test_a_pair_that_was_watched_before_is_not_new() -> None:
    """A pair counts by the first version that has it, and only where that one came after the last version."""
    data = dataset_of([], 3, 2, [(0, 0), (0, 1), (1, 0), (1, 1)])
    pairs = new_pairs(replace(data, first_versions=np.array([1, 3, 2, 4], dtype=np.int32)), 3)
    assert (pairs.user.tolist(), pairs.film.tolist()) == ([10], [1])


def pairs_of(users: Sequence[int], films: Sequence[str]) -> Pairs:
    """These pairs, of a catalogue that has one film more."""
    catalogue = tuple(sorted({*films, "zz+nobody+1999"}))
    return Pairs(np.array(users, dtype=np.int64), np.array([catalogue.index(film) for film in films], np.int32), catalogue)


def test_new_watches_are_compared_with_the_list_of_each_user(last: ServingModel) -> None:
    """The user's own list, or the popular list for an unknown user, and the most shown films. A new film is in none."""
    users = [FULL, FULL, FULL, FEW, 99, 99, 99, FULL]
    films = [FILMS[0], FILMS[15], FILMS[25], FILMS[49], FILMS[12], FILMS[0], "a+new+film+2026", FILMS[39]]
    watches = watched(pairs_of(users, films), last, [FILMS[0], FILMS[12]])
    assert watches.pairs == 8
    assert watches.in_own_list == 4 / 8
    assert watches.in_popular_list == 3 / 8
    assert watches.in_most_shown == 3 / 8


def test_all_watching_the_same_few_films_is_concentrated() -> None:
    """Films without a watch count as 0, as they do for the places of lists."""
    films = tuple(f"film+{number:02}" for number in range(100))
    users, shown = np.repeat(np.arange(50), 2), np.tile(np.array([3, 7], dtype=np.int32), 50)
    watches = watched(Pairs(users, shown, films), None, [])
    assert watches.gini == pytest.approx(0.98)
    assert watches.top_1_percent == 0.5


def test_without_new_pairs_all_shares_are_unknown(last: ServingModel) -> None:
    """A version trained on the same watches as the last one."""
    watches = watched(pairs_of([], []), last, [FILMS[0]])
    assert watches == NewWatches(0)


def test_without_a_last_version_only_concentration_is_known() -> None:
    """An unknown share is None, not 0."""
    watches = watched(pairs_of([1, 2, 3, 1], ["a", "a", "a", "b"]), None, [])
    assert (watches.pairs, watches.gini, watches.top_1_percent) == (4, 0.5, 0.75)
    assert (watches.in_own_list, watches.in_popular_list, watches.in_most_shown) == (None, None, None)


def test_a_model_without_users_shows_everybody_the_popular_list(tmp_path: Path) -> None:
    """Whoever they are."""
    model = load_serving(samples.save(tmp_path / "model", None, **samples.serving(users=())))
    assert lists_for(model, np.array([1, 2])).tolist() == [list(range(10, 30))] * 2
    assert watched(pairs_of([7], [FILMS[12]]), model, []).in_own_list == 1


def test_overlap_is_by_film_not_by_row(last: ServingModel) -> None:
    """A catalogue that has grown numbers its films anew; users that one of the two does not know are left out."""
    films = ("a+first+film+1900", *FILMS)
    top = np.full((3, 40), np.iinfo(np.uint16).max, dtype=np.uint16)
    top[0, :20] = np.arange(1, 21)  # FULL: the same as before
    top[2, :4] = 50, 49, 1, 0  # FEW: two that they had, one that they had not, one that is new
    share = overlap(last, np.array([FULL, 6, FEW]), films, top)
    assert share == pytest.approx((20 + 2) / (20 + 3))
    assert overlap(last, np.array([6]), films, top[1:2]) is None


def test_films_that_are_never_shown_are_counted_over_versions(tmp_path: Path) -> None:
    """Film b was last shown in version 4, c never; the count over versions that were not recorded is None."""
    films = ("a", "b", "c")
    shown = read_shown(tmp_path, 4)
    shown = shown.with_lists(4, films, np.array([1, 2, 0])).with_lists(5, films, np.array([1, 0, 0]))
    again = shown.with_lists(5, films, np.array([1, 0, 0]))
    assert again == shown
    write_shown(tmp_path, shown)
    kept = read_shown(tmp_path, 9)
    assert kept == Shown(since=4, films={"a": 5, "b": 4})
    assert [kept.never(5, films, versions) for versions in (1, 2, 3)] == [2, 1, None]


def test_only_an_earlier_version_is_the_last_one(tmp_path: Path) -> None:
    """A run that was killed finds its own model; a damaged one, or none, is no reason to fail."""
    samples.save(tmp_path / "model")
    assert load_previous(tmp_path, samples.VERSION) is None
    found = load_previous(tmp_path, samples.VERSION + 1)
    assert found is not None
    assert found.version == samples.VERSION
    (tmp_path / "model" / "metadata.json").write_text("{")
    assert load_previous(tmp_path, samples.VERSION + 1) is None
    assert load_previous(tmp_path / "none", 1) is None
