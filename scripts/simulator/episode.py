"""One session of one user: the events that it puts on the stream, in the order of their times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.simulator import lines
from scripts.simulator.lines import SECOND, Answer, Kind

MINUTE = 60 * SECOND

# Nanoseconds since 1970, the kind, and the line without its time.
Event = tuple[int, Kind, str]


@dataclass(frozen=True)
class Episode:
    """What happens in a session; all times are in nanoseconds since 1970, and of whole seconds but for `asked_at`.

    `minutes` are those that get a line, in order; minute 0 begins at `watched_from`. `ratings` are pairs of time and
    stars, of which a second one is a change of mind.
    """

    user_id: int
    begin: int
    newcomer: bool
    answer: Answer | None
    asked_at: int
    film: str
    watched_from: int
    minutes: Sequence[int]
    ratings: Sequence[tuple[int, int]]

    def events(self) -> Iterator[Event]:
        """Yield the session's events: none before `begin`, each in a later second than the one before."""
        if self.newcomer:
            yield self.begin, Kind.ACCOUNT, lines.account(self.user_id)
        if self.answer:
            yield self.asked_at, Kind.RECOMMENDATION, lines.recommendation(self.user_id, self.answer)
        for minute in self.minutes:
            yield self.watched_from + minute * MINUTE, Kind.WATCH, lines.watch(self.user_id, self.film, minute)
        for rated_at, stars in self.ratings:
            yield rated_at, Kind.RATING, lines.rating(self.user_id, self.film, stars)
