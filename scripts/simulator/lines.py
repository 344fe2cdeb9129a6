"""The forms of the stream's lines, their damage, and the options of a stream."""

import string
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from scripts.simulator.errors import InputError
from scripts.simulator.world import Draws

SECOND = 1_000_000_000
MICROSECOND = 1_000
MILLISECOND = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """The kind of event in a line."""

    WATCH = "watch"
    RATING = "rating"
    RECOMMENDATION = "recommendation"
    ACCOUNT = "account"


@dataclass(frozen=True)
class RequestOutcome:
    """The outcome of one recommendation request. `failure` names the kind of failure, and is empty after a success."""

    server: str
    status: int
    result: str
    milliseconds: float
    films: tuple[str, ...] = ()
    failure: str = ""


def watch(user_id: int, film: str, minute: int) -> str:
    """The line of one watched minute. Like all lines here, it lacks the time at its start."""
    return f"{user_id},GET /data/m/{film}/{minute}.mpg"


def rating(user_id: int, film: str, stars: int) -> str:
    """The line of a rating."""
    return f"{user_id},GET /rate/{film}={stars}"


def account(user_id: int) -> str:
    """The line of a new account."""
    return f"{user_id},GET /create_account"


def recommendation(user_id: int | str, answer: RequestOutcome) -> str:
    """The line of a recommendation request. Line breaks in an error become blanks."""
    result = " ".join(answer.result.splitlines())
    return (
        f"{user_id},recommendation request {answer.server}, status {answer.status}, "
        f"result: {result}, {round(answer.milliseconds)} ms"
    )


def whole_stamp(second: int) -> str:
    """Write a time in seconds since 1970 without decimals; seconds of `:00` are left out."""
    text = (_EPOCH + timedelta(seconds=second)).isoformat()
    return text[:19] if second % 60 else text[:16]


def decimal_stamp(nanosecond: int, decimals: int) -> str:
    """Write a time in nanoseconds since 1970 with so many decimals, 1 to 9; what they cannot hold is cut off."""
    second, fraction = divmod(nanosecond, SECOND)
    text = (_EPOCH + timedelta(seconds=second)).isoformat()[:19]
    return f"{text}.{fraction:09d}"[: len(text) + 1 + decimals]


def exact_stamp(nanosecond: int) -> str:
    """Write a time in nanoseconds since 1970 with 3, 6 or 9 decimals, as few as hold it."""
    second, fraction = divmod(nanosecond, SECOND)
    text = (_EPOCH + timedelta(seconds=second)).isoformat()[:19]
    if fraction % MILLISECOND == 0:
        return f"{text}.{fraction // MILLISECOND:03d}"
    if fraction % MICROSECOND == 0:
        return f"{text}.{fraction // MICROSECOND:06d}"
    return f"{text}.{fraction:09d}"


ALPHANUMERICS = string.ascii_letters + string.digits
INSERTED = ALPHANUMERICS + " "
SHORTEST_NOISE, LONGEST_NOISE = 8, 58
# Of the damaged lines: those whose whole film id is replaced; the others get one character too many.
REPLACED_SHARE = 0.3
# Of the empty ratings: those that lost the film too.
NO_FILM_SHARE = 0.5


@dataclass(frozen=True)
class DamageRates:
    """Shares of lines that are damaged, as measured: of ratings, of watch lines, and of ratings left empty."""

    ratings: float = 0.0004
    watches: float = 0.01
    empty_ratings: float = 0.0002


def insert_character(line: str, place: int, character: str) -> str:
    """Put one character before the given place; the length of the line puts it last."""
    return line[:place] + character + line[place:]


def replace_film(line: str, noise: str) -> str:
    """Put noise in the place of the film's id, in a watch or rating line."""
    before, mark, rest = _around_film(line)
    end = rest.rindex("=" if mark == "/rate/" else "/")
    return before + mark + noise + rest[end:]


def empty_rating(line: str, *, film: bool) -> str:
    """Take the value from a rating line, and with `film` the film too (`GET /rate/=`)."""
    before, mark, rest = _around_film(line)
    kept = "" if film else rest[: rest.rindex("=")]
    return f"{before}{mark}{kept}="


def _around_film(line: str) -> tuple[str, str, str]:
    mark = "/rate/" if "/rate/" in line else "/data/m/"
    return line.partition(mark)


@dataclass(frozen=True)
class Damager:
    """Damages whole lines at the given rates; recommendation and account lines are left alone."""

    rates: DamageRates
    draws: Draws

    def __call__(self, kind: Kind, line: str) -> str:
        """Give the line back, mostly as it is."""
        if kind is Kind.WATCH:
            return self._spoil(line) if self.draws.uniform() < self.rates.watches else line
        if kind is not Kind.RATING:
            return line
        luck = self.draws.uniform()
        if luck < self.rates.empty_ratings:
            return empty_rating(line, film=self.draws.uniform() < NO_FILM_SHARE)
        return self._spoil(line) if luck < self.rates.empty_ratings + self.rates.ratings else line

    def _spoil(self, line: str) -> str:
        if self.draws.uniform() < REPLACED_SHARE:
            length = SHORTEST_NOISE + self.draws.below(LONGEST_NOISE - SHORTEST_NOISE + 1)
            return replace_film(line, "".join(self._one_of(ALPHANUMERICS) for _ in range(length)))
        return insert_character(line, self.draws.below(len(line) + 1), self._one_of(INSERTED))

    def _one_of(self, characters: str) -> str:
        return characters[self.draws.below(len(characters))]


NO_RECOMMENDER, POPULAR = "none", "popular"
DEFAULT_LINES = 100_000


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """The settings of one stream; the defaults give the mix that was measured: 98 % watches, 1 % ratings, 1 % requests.

    `lines` and `ratings` are exact; the stream ends at the one that is set (`lines` when neither is). `days` sets the
    pace: about the time that the whole stream spans. The shares are those of sessions that begin with a request, of
    films that are rated, and of watched minutes that get a line. `uplift` is defined in `choice`. `recommender` is
    `none`, `popular` or the address of a running service. The `seed` is the world's own unless it is set. `decimals` (0, 3, 6
    or 9) are those of the seconds of watches, ratings and new accounts; requests always have some.
    """

    seed: int | None = None
    start: datetime = datetime(2026, 1, 5, 8, tzinfo=UTC)
    days: float = 1.0
    lines: int | None = None
    ratings: int | None = None
    rating_share: float = 0.8
    request_share: float = 0.8
    minutes_share: float = 1.0
    uplift: float = 0.5
    recommender: str = POPULAR
    timeout_ms: float = 600.0
    damage: DamageRates = field(default_factory=DamageRates)
    decimals: int = 0

    def session_rate(self, minutes: float) -> float:
        """Give the sessions a second that fill the span, where a film is watched for `minutes` in the mean."""
        requests = 0.0 if self.recommender == NO_RECOMMENDER else self.request_share
        per_session = self.rating_share
        if self.ratings is None:
            per_session += self.minutes_share * minutes + requests
        if per_session <= 0:
            raise InputError("with these shares nothing would be written: raise --rating-share or --minutes-share")
        return self.wanted / per_session / (self.days * 86_400)

    @property
    def wanted(self) -> int:
        """How many lines, or ratings where they are the measure, the stream will have."""
        return self.ratings if self.ratings is not None else self.lines or DEFAULT_LINES
