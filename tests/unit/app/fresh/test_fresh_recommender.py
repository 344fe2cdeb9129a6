from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exploring import recommender_of
from app.fresh.list_model import ListModel
from app.fresh.overlay import Record, pack
from app.fresh.recommender import FreshRecommender, list_id
from app.fresh.state import State
from app.model import load_serving
from tests.unit.app.fresh.versions import COUNT, FEW, FILMS, FULL, SEEN, SEEN_ALL, Records, rated, save_fresh, watched

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from app.events import Event
    from app.recommender import Answer

NEW = 1234
USERS = (FULL, FEW, SEEN_ALL, NEW)
EVENTS = st.lists(
    st.one_of(
        st.builds(rated, st.sampled_from(USERS), st.integers(0, COUNT - 1), st.sampled_from([1, 3, 5])),
        st.builds(watched, st.sampled_from(USERS), st.integers(0, COUNT - 1)),
    ),
    max_size=60,
)


class Service:
    """A service and the state of its version."""

    def __init__(self, folder: Path) -> None:
        self.model = ListModel(folder)
        self.serving = load_serving(folder)
        self.plain = recommender_of(self.serving)
        self.replaying = FreshRecommender(self.plain, self.serving, None, lambda: self.model)

    def after(self, events: Iterable[Event]) -> FreshRecommender:
        """The recommender once these events have counted."""
        state = State(self.model)
        for event in events:
            state.apply(event)
            state.compute_due()
        return FreshRecommender(self.plain, self.serving, Records(state), lambda: self.model)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service of the small version."""
    return Service(save_fresh(tmp_path_factory.mktemp("fresh") / "model"))


def films(answer: Answer) -> list[str]:
    """The films of an answer."""
    return answer.body.split(",")


@pytest.mark.parametrize("user", USERS)
def test_without_new_events_answers_are_those_of_the_version(service: Service, user: int) -> None:
    """To the byte, with the same step and no inputs."""
    assert service.after([]).recommend(user) == service.plain.recommend(user)


def test_a_begun_film_is_struck_and_the_reserve_fills_up(service: Service) -> None:
    """The other films keep their order."""
    before, after = service.plain.recommend(FULL), service.after([watched(FULL, 0), watched(FULL, 4)]).recommend(FULL)
    assert films(after) == [*(film for film in films(before) if film not in {FILMS[0], FILMS[4]}), FILMS[20], FILMS[21]]
    assert (after.step, after.inputs) == ("known", "struck:11")


def test_a_struck_film_that_is_in_no_list_changes_nothing(service: Service) -> None:
    """The answer is that of the version."""
    assert service.after([watched(FULL, 45)]).recommend(FULL) == service.plain.recommend(FULL)


def test_an_unknown_user_gets_a_list_of_their_own(service: Service) -> None:
    """By one rating."""
    answer = service.after([rated(NEW, 30)]).recommend(NEW)
    assert films(answer)[0] == FILMS[31]
    assert answer.step == "fresh"
    assert answer.inputs == f"fresh:{list_id(answer.source)}:0"


def test_a_film_is_struck_from_a_computed_list(service: Service) -> None:
    """The list stays the same, and its place is named."""
    first = service.after([rated(NEW, 30)]).recommend(NEW)
    second = service.after([rated(NEW, 30), watched(NEW, 31)]).recommend(NEW)
    assert (second.source, second.inputs) == (first.source, first.inputs.removesuffix("0") + "1")
    assert films(second)[:19] == films(first)[1:]


@given(EVENTS)
def test_every_answer_is_computed_again_from_its_row(service: Service, events: list[Event]) -> None:
    """Whatever happened: the same bytes from user, inputs and source. No answer has a film that the user has begun."""
    recommender = service.after(events)
    for user, seen in zip(USERS, (*SEEN, []), strict=True):
        answer = recommender.recommend(user)
        assert service.replaying.replay(user, answer.inputs, answer.source) == answer
        assert len(answer.inputs) <= 64
        begun = {FILMS.index(event.film) for event in events if event.user == user}  # type: ignore[union-attr]
        numbers = {FILMS.index(film) for film in films(answer)}
        assert len(numbers) == len(films(answer)) <= 20
        if answer.step == "seen_all":
            assert len({*seen} | begun) == COUNT
        else:
            assert not numbers & ({*seen} | begun)
            assert len(numbers) == min(20, COUNT - len({*seen} | begun))


@pytest.mark.parametrize(
    ("inputs", "source", "message"),
    [
        ("struck:1", "AAAA.", "a source belongs to a computed list"),
        ("fresh:0000000000000000:0", "AAAAAAA.", "was computed from something else"),
        ("fresh:0000000000000000:0", "", "was computed from something else"),
        ("fresh:xyz:0", "", "do not come from this model"),
        ("struck:", "", "do not come from this model"),
    ],
)
def test_inputs_of_no_answer_are_refused(service: Service, inputs: str, source: str, message: str) -> None:
    """One line says why."""
    with pytest.raises(ValueError, match=message):
        service.replaying.replay(FULL, inputs, source)


def test_a_release_compares_lists_without_what_is_new(service: Service) -> None:
    """Its requests replay with empty inputs."""
    assert service.after([rated(FULL, 3)]).replay(FULL, "") == service.plain.recommend(FULL)


def test_a_begun_film_is_never_explored(tmp_path: Path) -> None:
    """A user with new events gets no explored film: it could be one that they have begun."""
    explore = {"explore": np.full((3, 8), 45, dtype=np.uint16), "explore_pool": np.array([45], dtype=np.uint16)}
    service = Service(save_fresh(tmp_path / "model", arrays=explore, explore_share=1.0))
    for user in (FULL, NEW):
        assert FILMS[45] in films(service.after([]).recommend(user))
        answer = service.after([watched(user, 45)]).recommend(user)
        assert FILMS[45] not in films(answer)
        assert service.replaying.replay(user, answer.inputs) == answer


class Damaged:
    """Records that no writer has written."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def find(self, _user: int) -> bytes:
        """The same for everybody."""
        return self._content


@pytest.mark.parametrize("content", [b"", b"\1", b"\xff" * 40, pack(Record((1,), (1,), (1,), (60_000,), "AAAA."))])
def test_a_damaged_record_fails_no_answer(service: Service, content: bytes) -> None:
    """The answer is that of the version."""
    recommender = FreshRecommender(service.plain, service.serving, Damaged(content), lambda: service.model)
    assert recommender.recommend(FULL) == service.plain.recommend(FULL)
