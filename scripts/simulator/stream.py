"""The stream: sessions that begin at random times and run side by side, merged into lines in the order of time."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from heapq import heappop, heappush
from operator import itemgetter

import numpy as np

from scripts.simulator.audience import Audience, Episode, Event, PopularRecommender, RecommenderClient
from scripts.simulator.lines import (
    NO_RECOMMENDER,
    POPULAR,
    SECOND,
    Damager,
    Kind,
    StreamOptions,
    decimal_stamp,
    exact_stamp,
    whole_stamp,
)
from scripts.simulator.service import ServiceClient
from scripts.simulator.world import BLOCK, Draws, World

_by_time = itemgetter(0)


class EventQueue:
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
    queue = EventQueue()
    for episode in episodes:
        yield from queue.before(episode.begin // SECOND)
        queue.add(episode.events())


SHORTEST_SESSION_SECONDS = 60

_ARRIVALS, _DAMAGE, _RECOMMENDER = 20, 21, 22


@dataclass
class LineCounts:
    """How many lines of each kind have been given out, counted by what they were before any damage."""

    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))

    @property
    def lines(self) -> int:
        """All lines so far."""
        return sum(self.counts.values())


def stream_lines(
    world: World, options: StreamOptions, tally: LineCounts | None = None, client: RecommenderClient | None = None
) -> Iterator[str]:
    """Yield the lines, without line ends; same world, same options, same lines (but for a real service's answers).

    Memory holds the sessions that are open, and what the users remember. A `tally` is kept up to date on the way. A `client`
    answers the requests in place of `options.recommender`.
    """
    counts = (tally or LineCounts()).counts
    seed = world.seed if options.seed is None else options.seed
    measure = None if options.ratings is None else Kind.RATING
    left = options.wanted
    with nullcontext(client) if client else _recommender(world, options, seed) as recommender:
        audience = Audience(world, options, recommender)
        arrivals = _arrivals(world, options, audience.mean_minutes, seed)
        events = merged(_episodes(audience, arrivals))
        for kind, line in _written(events, Damager(options.damage, Draws(seed, _DAMAGE)), options.decimals):
            counts[kind] += 1
            yield line
            if measure is None or kind is measure:
                left -= 1
                if not left:
                    return


@contextmanager
def _recommender(world: World, options: StreamOptions, seed: int) -> Iterator[RecommenderClient | None]:
    if options.recommender == NO_RECOMMENDER:
        yield None
    elif options.recommender == POPULAR:
        yield PopularRecommender(world, Draws(seed, _RECOMMENDER))
    else:
        with closing(ServiceClient(options.recommender, options.timeout_ms)) as client:
            yield client


def _arrivals(world: World, options: StreamOptions, minutes: float, seed: int) -> Iterator[tuple[int, int]]:
    """Yield, without end, the nanosecond at which a user comes by, rounded to the stream's decimals, and who it is."""
    draws = Draws(seed, _ARRIVALS)
    # Who is still watching begins nothing: a higher rate than this would only be turned away, without end.
    rate = min(options.session_rate(minutes), len(world.users.ids) / SHORTEST_SESSION_SECONDS)
    bounds = np.cumsum(world.users.activity)
    unit = 10**options.decimals
    now = options.start.timestamp()
    while True:
        times = now + np.cumsum(draws.rng.exponential(1 / rate, BLOCK))
        users = np.searchsorted(bounds, draws.rng.random(BLOCK) * bounds[-1], side="right")
        yield from zip(((times * unit).astype(np.int64) * (SECOND // unit)).tolist(), users.tolist(), strict=True)
        now = float(times[-1])


def _episodes(audience: Audience, arrivals: Iterable[tuple[int, int]]) -> Iterator[Episode]:
    for begin, user in arrivals:
        episode = audience.visit(user, begin)
        if episode:
            yield episode


def _written(events: Iterable[Event], damage: Damager, decimals: int) -> Iterator[tuple[Kind, str]]:
    """Put the times in front, and damage what is to be damaged."""
    stamped, stamp = -1, ""
    for time, kind, body in events:
        if kind is Kind.RECOMMENDATION:
            yield kind, f"{exact_stamp(time)},{body}"
            continue
        if time != stamped:
            stamped, stamp = time, decimal_stamp(time, decimals) if decimals else whole_stamp(time // SECOND)
        yield kind, damage(kind, f"{stamp},{body}")
