from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from app.events import NewAccount, Rating, Watch
from app.fresh.list_model import NEWEST_LIKES, ListModel, read_source
from app.fresh.overlay import UNRATED, Record, unpack
from app.fresh.state import State
from tests.unit.app.fresh.versions import COUNT, FEW, FULL, MINUTES, TIME, list_model, rated, watched

if TYPE_CHECKING:
    from pathlib import Path

NEW = 1234


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ListModel:
    """The version's list model."""
    return list_model(tmp_path_factory.mktemp("fresh") / "model")


@pytest.fixture
def state(model: ListModel) -> State:
    """A state in which nothing is new."""
    return State(model)


def record(state: State, user: int) -> Record:
    """A user's record, with the list that is due."""
    state.compute_due()
    return unpack(state.records()[user])


def test_a_film_is_struck_at_its_first_minute(state: State) -> None:
    """Without a list: a film that is only begun says nothing about taste. The second minute changes no answer."""
    state.apply(watched(FULL, 3))
    assert record(state, FULL) == Record((3,), (1,), (UNRATED,))
    assert state.changed == {FULL}
    state.changed.clear()
    state.apply(watched(FULL, 3, 2))
    assert record(state, FULL).minutes == (2,)
    assert state.changed == set()


@pytest.mark.parametrize("user", [FULL, NEW])
def test_a_rating_computes_a_list(state: State, user: int) -> None:
    """Of a known user as of anybody else: the film it speaks for is first, and the rated film is not in it."""
    state.apply(rated(user, 20))
    listed = record(state, user).listed
    assert listed[0] == 21
    assert 20 not in listed
    assert state.changed == {user}


def test_a_viewing_computes_lists_at_its_milestones(state: State) -> None:
    """After a tenth, a half and nine tenths of the film's length."""
    computed = []
    for minute in range(1, MINUTES + 30):
        state.apply(watched(NEW, 20, minute))
        state.compute_due()
        computed.append(state.lists)
    assert [minute for minute in range(2, len(computed)) if computed[minute - 1] > computed[minute - 2]] == [11, 51, 91]
    assert unpack(state.records()[NEW]).listed[0] == 21


def test_a_rating_counts_instead_of_minutes(state: State) -> None:
    """A film that was watched to its end and then rated low speaks for nothing."""
    for minute in range(1, MINUTES + 1):
        state.apply(watched(NEW, 20, minute))
    assert record(state, NEW).listed[0] == 21
    state.apply(rated(NEW, 20, 1))
    assert record(state, NEW).listed[:3] == (10, 11, 12)


def test_the_latest_rating_counts(state: State) -> None:
    """A user can rate a film again."""
    for stars in (5, 1, 3):
        state.apply(rated(NEW, 20, stars))
    found = record(state, NEW)
    assert found.grades == (179,)
    assert found.films == (20,)


def test_events_of_a_user_are_coalesced(state: State) -> None:
    """One list for all events between two calls."""
    for film in range(10):
        state.apply(rated(NEW, film))
    state.compute_due()
    assert state.lists == 1
    state.compute_due()
    assert state.lists == 1


def test_a_reserve_that_runs_short_is_computed_anew(state: State) -> None:
    """More than twenty struck films of forty: popular films that the user has not seen fill up."""
    for film in range(20):
        state.apply(watched(FULL, film))
    assert record(state, FULL).listed == ()
    state.apply(watched(FULL, 20))
    listed = record(state, FULL).listed
    assert listed == tuple(range(21, 40))  # the user had seen films 40 to 49
    assert state.lists == 1


def test_a_user_who_has_seen_everything_has_an_empty_list(state: State) -> None:
    """Services serve them popular films."""
    for film in range(45, 50):
        state.apply(watched(FEW, film))
    assert record(state, FEW).listed == ()


def test_minutes_do_not_lower_what_was_known(state: State, model: ListModel) -> None:
    """FULL likes film 42 by the version's data. Watching a little of it again takes nothing away."""
    for minute in range(1, 13):
        state.apply(watched(FULL, 42, minute))
    likes, _ = read_source(record(state, FULL).source)
    assert likes == ()
    assert model.likes_of(model.row_of(FULL)) == {42: 200}


@pytest.mark.parametrize(
    "event",
    [
        NewAccount(TIME, NEW),
        Rating(TIME, NEW, "a+film+of+no+version+1999", 5),
        Watch(TIME, NEW, "a+film+of+no+version+1999", 1),
    ],
)
def test_other_events_change_nothing(state: State, event: NewAccount | Rating | Watch) -> None:
    """Films outside the version cannot be recommended by it."""
    state.apply(event)
    assert state.records() == {}
    assert state.changed == set()


def test_a_user_with_ten_thousand_events_costs_no_more_than_their_films(state: State) -> None:
    """Each film is kept once, and a list follows the newest likes only."""
    for number in range(10_000):
        state.apply(rated(NEW, number % COUNT, 1 + number % 5))
        state.apply(watched(NEW, number % COUNT))
    found = record(state, NEW)
    assert len(found.films) == COUNT
    assert len(read_source(found.source)[0]) <= min(NEWEST_LIKES, COUNT)
    assert len(state.records()[NEW]) < 1000


def test_a_state_continues_from_its_records(state: State, model: ListModel) -> None:
    """The same events in one state or in two give the same records."""
    events: list[Rating | Watch] = [rated(NEW, 3), watched(FULL, 4), watched(NEW, 5), rated(FULL, 6, 3), watched(FULL, 4, 2)]
    for event in events[:3]:
        state.apply(event)
    state.compute_due()
    second, whole = State(model, state.records()), State(model)
    for event in events[3:]:
        second.apply(event)
    second.compute_due()
    for event in events:
        whole.apply(event)
    whole.compute_due()
    assert {user: unpack(content).listed for user, content in second.records().items()} == {
        user: unpack(content).listed for user, content in whole.records().items()
    }


def test_the_newest_likes_count(model: ListModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their last rating. Films that are not liked take no place, and a film that was liked before can be disliked."""
    monkeypatch.setattr("app.fresh.state.NEWEST_LIKES", 2)
    state = State(model)
    for film, stars in ((10, 5.0), (42, 1.0), (20, 5.0), (30, 5.0), (11, 1.0), (10, 4.0)):
        state.apply(rated(FULL, film, stars))
    likes, _ = read_source(record(state, FULL).source)
    assert likes == ((42, 0), (30, 255), (10, 217))


def test_minutes_of_a_film_without_a_like_are_none(state: State) -> None:
    """FULL had seen film 45, and may have rated it low. Film 44 is no like after a rating of 1, whatever was watched."""
    state.apply(rated(FULL, 44, 1))
    for minute in range(1, MINUTES + 1):
        state.apply(watched(FULL, 45, minute))
        state.apply(watched(FULL, 44, minute))
    assert read_source(record(state, FULL).source)[0] == ()


def test_lists_that_are_not_computed_in_time_stay_due(state: State, model: ListModel) -> None:
    """Also in a state that continues from the records."""
    for user in range(5):
        state.apply(rated(user, 20))
    state.compute_due(until=0)
    assert state.lists == 0
    second = State(model, state.records())
    second.compute_due()
    assert second.lists == 5
    assert unpack(second.records()[4]).listed[0] == 21
    third = State(model, second.records())
    third.compute_due()
    assert third.lists == 0


def test_of_a_program_that_begins_all_films_the_newest_count(model: ListModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The film that was rated or begun longest ago falls out first. One that comes again is new again."""
    monkeypatch.setattr("app.fresh.state.MOST_FILMS", 10)
    state = State(model)
    for film in range(COUNT):
        state.apply(watched(NEW, film))
        state.apply(watched(NEW, film, 2))
        assert film in unpack(state.records()[NEW]).films
    assert record(state, NEW).films == tuple(range(COUNT - 10, COUNT))
    assert set(record(state, NEW).minutes) == {2}
    state.apply(rated(NEW, COUNT - 10))
    state.changed.clear()
    state.apply(watched(NEW, 0))
    assert state.changed == {NEW}
    assert record(state, NEW).films == (*range(COUNT - 8, COUNT), COUNT - 10, 0)


def test_a_ranker_without_item_weights_keeps_the_version_s_list(tmp_path: Path) -> None:
    """A rating strikes the film. Where the list runs short, what is left of it comes first, then popular films."""
    model = list_model(tmp_path / "model", without=("item_rows", "item_films", "item_weights"))
    state = State(model)
    state.apply(rated(FULL, 3))
    assert record(state, FULL).listed == ()
    for film in range(20, 40):
        state.apply(watched(FULL, film))
    assert record(state, FULL).listed == (0, 1, 2, *range(4, 20))
    for film in range(10, 31):
        state.apply(watched(NEW, film))
    assert record(state, NEW).listed == (*range(31, 50), *range(10))


def test_the_newest_events_count_first(model: ListModel) -> None:
    """After a long stop many lists are due. Whoever is there now does not wait for them."""
    state = State(model)
    for user in (1, 2, 3, 1):
        state.apply(rated(user, 20))
    computed = list[int]()
    for _ in range(3):
        state.changed.clear()
        monotonic = iter([0.0, 2.0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.fresh.state.time.monotonic", lambda monotonic=monotonic: next(monotonic))
            state.compute_due(until=1.0)
        computed.extend(state.changed)
    assert computed == [1, 3, 2]


@pytest.mark.parametrize("most", [1, 2, 5])
def test_records_are_the_same_however_few_are_open(model: ListModel, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Those that were not needed for long are packed meanwhile."""
    draw, events = random.Random(most), list[Rating | Watch]()
    for _ in range(600):
        user, film = draw.randrange(8), draw.randrange(COUNT)
        events.append(rated(user, film, draw.randint(1, 5)) if draw.random() < 0.3 else watched(user, film))
    found = []
    for limit in (most, len(events)):
        monkeypatch.setattr("app.fresh.state.MOST_OPEN", limit)
        state = State(model)
        for number, event in enumerate(events):
            state.apply(event)
            assert len(state._open) <= limit
            assert state.users == len({each.user for each in events[: number + 1]})
            if number % 50 == 0:
                state.compute_due()
        found.append(state.records())
    assert found[0] == found[1]
