"""Episodes side by side: their events in the order of their times."""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from operator import itemgetter

from scripts.simulator.episode import Episode, Event
from scripts.simulator.lines import SECOND

_by_time = itemgetter(0)


class Agenda:
    """What is to come: for each episode under way its next event, by second.

    Buckets of a second are several times as fast as a heap of events, whose order is decided by comparing them.
    """

    def __init__(self) -> None:
        """Begin with nothing to come."""
        self._buckets: dict[int, list[tuple[int, Event, Iterator[Event]]]] = {}
        self._seconds: list[int] = []

    def add(self, events: Iterator[Event]) -> None:
        """Note the next of these events, if there is one. An episode's next event is never in the same second."""
        event = next(events, None)
        if event is None:
            return
        second = event[0] // SECOND
        bucket = self._buckets.get(second)
        if bucket is None:
            self._buckets[second] = [(event[0], event, events)]
            heappush(self._seconds, second)
        else:
            bucket.append((event[0], event, events))

    def before(self, second: int) -> Iterator[Event]:
        """Take out all events before this second, in the order of their times, and of their coming where these tie."""
        while self._seconds and self._seconds[0] < second:
            for _, event, further in sorted(self._buckets.pop(heappop(self._seconds)), key=_by_time):
                yield event
                self.add(further)


def merged(episodes: Iterable[Episode]) -> Iterator[Event]:
    """Merge episodes, given without end in the order of their beginnings."""
    agenda = Agenda()
    for episode in episodes:
        yield from agenda.before(episode.begin // SECOND)
        agenda.add(episode.events())
