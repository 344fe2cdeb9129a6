"""The users at work: somebody comes by, and an episode follows."""

from array import array
from collections.abc import Sequence
from statistics import fmean

from scripts.simulator.choice import Chooser, Offer
from scripts.simulator.draws import Draws
from scripts.simulator.episode import MINUTE, Episode
from scripts.simulator.lines import MICROSECOND, MILLISECOND, SECOND, Answer
from scripts.simulator.opinion import Opinion, share_watched
from scripts.simulator.options import StreamOptions
from scripts.simulator.recommenders import Recommender
from scripts.simulator.world import World

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

    def __init__(self, world: World, options: StreamOptions, recommender: Recommender | None) -> None:
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

    def _ask(self, user: int) -> Answer | None:
        if self._recommender is None or self._draws.uniform() >= self._options.request_share:
            return None
        return self._recommender.ask(int(self._world.users.ids[user]))

    def _offer(self, answer: Answer | None) -> Offer:
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
