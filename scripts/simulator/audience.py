"""The users at work: somebody comes by, asks perhaps a recommender, and an episode follows."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp
from statistics import fmean
from typing import Protocol

from scripts.simulator import lines
from scripts.simulator.choice import Chooser, Offer, Opinion, share_watched
from scripts.simulator.lines import MICROSECOND, MILLISECOND, SECOND, Kind, RequestOutcome, StreamOptions
from scripts.simulator.service import timed_out
from scripts.simulator.world import Draws, World

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
    answer: RequestOutcome | None
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


LIST_LENGTH = 20
FAILURE_SHARE = 0.02
TIMEOUT_MS = 600
TYPICAL_MS, SLOWNESS_SPREAD = 60.0, 0.5


class RecommenderClient(Protocol):
    """Answers one request for one user, also when it fails. A `service.ServiceClient` is one."""

    def ask(self, user_id: int, /) -> RequestOutcome:
        """Give the answer as the film service will log it."""


@dataclass(frozen=True)
class PopularRecommender:
    """Offers the most popular films to everybody, and runs into a time-out now and then."""

    world: World
    draws: Draws
    server: str = "127.0.0.1:8082"

    def ask(self, _user_id: int, /) -> RequestOutcome:
        """Give the same list to any user."""
        milliseconds = TYPICAL_MS * exp(SLOWNESS_SPREAD * self.draws.normal())
        if self.draws.uniform() < FAILURE_SHARE:
            return timed_out(self.server, TIMEOUT_MS, TIMEOUT_MS + milliseconds / 10)
        films = tuple(self.world.films.ids[:LIST_LENGTH])
        return RequestOutcome(self.server, 200, ", ".join(films), milliseconds, films)


# So many films a user remembers and does not pick again: it bounds what a long stream keeps in memory.
MEMORY = 64
PILOT = 3000
# Java writes as many decimals as a time needs: mostly 6, the others here by the share of 3 and of 9.
THREE_DECIMALS, NINE_DECIMALS = 0.1, 0.1
LONGEST_CHOICE, LONGEST_THOUGHT = 20, 90
MINDS_MADE_UP = (1 + 2 * LONGEST_THOUGHT) * SECOND
# Of the ratings, those that the user replaces by another one soon after.
SECOND_THOUGHTS = 0.01

_PILOT, _AUDIENCE = 10, 11


class Audience:
    """Makes episodes, and remembers who is busy until when, who saw what, and who has an account."""

    def __init__(self, world: World, options: StreamOptions, recommender: RecommenderClient | None) -> None:
        """Set the scale of the users' opinions on a pilot, whose numbers do not touch those of the stream."""
        pilot = Draws(world.seed, _PILOT)
        picks = _pilot_picks(world, pilot)
        self._world = world
        self._options = options
        self._recommender = recommender
        self._opinion = Opinion.calibrated(world, picks)
        self._draws = Draws(world.seed if options.seed is None else options.seed, _AUDIENCE)
        self._chooser = Chooser(world, self._draws)
        self._busy_until: dict[int, int] = {}
        self._seen: dict[int, array[int]] = {}
        self.mean_minutes = fmean(self._stay(*pick, pilot) for pick in picks)

    def visit(self, user: int, begin: int) -> Episode | None:
        """Let the user at this position begin a session; one who is still watching does not."""
        if begin < self._busy_until.get(user, 0):
            return None
        draws, seen = self._draws, self._seen.get(user)
        answer = self._ask(user)
        film = self._chooser.pick(user, seen or (), self._offer(answer))
        stay = self._stay(user, film, draws)
        watched_from = begin + (3 + draws.below(LONGEST_CHOICE)) * SECOND
        watched_to = watched_from + stay * MINUTE
        self._busy_until[user] = watched_to + MINDS_MADE_UP
        self._remember(user, film)
        return Episode(
            user_id=int(self._world.users.ids[user]),
            begin=begin,
            newcomer=seen is None and self._world.users.newcomers[user],
            answer=answer,
            asked_at=begin + SECOND + self._fraction(),
            film=self._world.films.ids[film],
            watched_from=watched_from,
            minutes=self._minutes(stay),
            ratings=self._ratings(user, film, watched_to),
        )

    def _ask(self, user: int) -> RequestOutcome | None:
        if self._recommender is None or self._draws.uniform() >= self._options.request_share:
            return None
        return self._recommender.ask(int(self._world.users.ids[user]))

    def _offer(self, answer: RequestOutcome | None) -> Offer:
        places = self._world.films.places
        named = answer.films if answer else ()
        return Offer([places[film] for film in named if film in places], self._options.uplift)

    def _stay(self, user: int, film: int, draws: Draws) -> int:
        share = share_watched(self._opinion.joy(user, film), draws.uniform(), draws.uniform())
        return max(1, round(share * self._world.films.runtimes[film]))

    def _minutes(self, stay: int) -> Sequence[int]:
        share = self._options.minutes_share
        return range(stay) if share >= 1 else [minute for minute in range(stay) if self._draws.uniform() < share]

    def _ratings(self, user: int, film: int, watched_to: int) -> list[tuple[int, int]]:
        draws, times = self._draws, []
        if draws.uniform() < self._options.rating_share:
            times.append(watched_to + (1 + draws.below(LONGEST_THOUGHT)) * SECOND)
            if draws.uniform() < SECOND_THOUGHTS:
                times.append(times[0] + (1 + draws.below(LONGEST_THOUGHT)) * SECOND)
        joy = self._opinion.joy(user, film) if times else 0.0
        return [(time, self._opinion.rating(joy, draws.normal())) for time in times]

    def _fraction(self) -> int:
        luck = self._draws.uniform()
        if luck < THREE_DECIMALS:
            return self._draws.below(SECOND // MILLISECOND) * MILLISECOND
        if luck < THREE_DECIMALS + NINE_DECIMALS:
            return self._draws.below(SECOND)
        return self._draws.below(SECOND // MICROSECOND) * MICROSECOND

    def _remember(self, user: int, film: int) -> None:
        seen = self._seen.setdefault(user, array("i"))
        if len(seen) >= MEMORY:
            seen.pop(0)
        seen.append(film)


def _pilot_picks(world: World, draws: Draws) -> list[tuple[int, int]]:
    chooser = Chooser(world, draws)
    users = draws.rng.choice(len(world.users.ids), size=PILOT, p=world.users.activity)
    return [(user, chooser.pick(user)) for user in users.tolist()]
