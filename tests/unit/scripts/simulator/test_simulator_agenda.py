from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.simulator.lines import SECOND, Kind
from scripts.simulator.stream import EventQueue

if TYPE_CHECKING:
    from scripts.simulator.audience import Event


def events(*times: float) -> list[Event]:
    """Events at these seconds, named after them."""
    return [(int(time * SECOND), Kind.WATCH, f"at {time}") for time in times]


def test_events_of_several_sessions_come_in_the_order_of_time() -> None:
    """Sessions run side by side; fractions of a second count."""
    queue = EventQueue()
    queue.add(iter(events(1, 61, 121)))
    queue.add(iter(events(2.5, 61.25)))
    queue.add(iter(events(2, 30)))
    assert [body for _, _, body in queue.before(100)] == ["at 1", "at 2", "at 2.5", "at 30", "at 61", "at 61.25"]


def test_what_is_not_due_waits() -> None:
    """The second asked for is not yet over, so its events stay."""
    queue = EventQueue()
    queue.add(iter(events(5, 6)))
    assert list(queue.before(5)) == []
    assert [body for _, _, body in queue.before(6)] == ["at 5"]
    assert [body for _, _, body in queue.before(7)] == ["at 6"]


def test_ties_are_settled_by_who_came_first() -> None:
    """Events of the very same time keep the order in which they were noted."""
    queue = EventQueue()
    for name in "abc":
        queue.add(iter([(SECOND, Kind.WATCH, name)]))
    assert [body for _, _, body in queue.before(2)] == ["a", "b", "c"]


def test_a_session_without_events_leaves_nothing() -> None:
    """Nothing to come is nothing noted."""
    queue = EventQueue()
    queue.add(iter([]))
    assert list(queue.before(10**9)) == []
