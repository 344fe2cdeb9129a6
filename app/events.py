"""A line of the movie stream becomes a typed event, or a reject with its reason. Pure.

The source inserts one random letter, digit or blank into some lines, or puts random characters for the film's id. A letter or
blank inside a field of digits and signs (the time, the minute, the rating) leaves one meaning. Such a line is repaired, and
counted as repaired. A user or film with an extra letter or blank could be another one, and is rejected. An extra digit in a
user shows only above `USER_ID_MAX`. Below this limit the line counts for another user.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Years of films go back to 1893; a film without a year ends in a plus. A title may be signs alone: `_++++1954`.
FILM = r"[a-z0-9._*+-]+\+(?:(?:18|19|20)\d\d)?"
# The 29th to 31st have their own group: only these days need the calendar.
_DAY = r"[12]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8]|(29|3[01]))"
_HOUR = r"T(?:[01]\d|2[0-3]):[0-5]\d"
# Seconds are optional, with 3, 6 or 9 decimals.
_SECONDS = r":[0-5]\d(?:\.\d{3}(?:\d{3}){0,2})?"
_TIME = rf"({_DAY}{_HOUR}({_SECONDS})?)"
_USER = r"(0|[1-9]\d{0,18})"
_RATING = r"([\d.]{1,4})"

_RATING_OR_WATCH = re.compile(
    rf"{_TIME},{_USER},GET /(?:rate/({FILM})={_RATING}|data/m/({FILM})/(\d{{1,4}})\.mpg)[\r\n]*", re.ASCII
).fullmatch
# Days that exist in every year.
_SURE_DAY = r"[12]\d{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_NEW_ACCOUNT = re.compile(rf"{_TIME},{_USER},GET /create_account", re.ASCII)
_RECOMMENDATION = re.compile(
    rf"{_TIME},{_USER},"
    r"recommendation request ([^\s,]+), status (\d{1,3}), result: (.*), (\d{1,9}) ?ms",
    re.ASCII,
)
_USER_ID = re.compile(_USER, re.ASCII)
_FILM_ID = re.compile(FILM, re.ASCII)

_NUMBER = re.compile(r"\d{1,3}(\.\d{1,2})?", re.ASCII)
_FIRST_FIELD = re.compile(r"[^,]*")
_WHOLE_TIME = re.compile(_TIME, re.ASCII)
_TAIL_FIELD = re.compile(r"[^,]*,[^,]*,GET /(?:rate/.*=|data/m/[^/]*/)([^/=]*)")

# The beginning of each kind's request.
KINDS = {
    "GET /rate/": "rating",
    "GET /data/m/": "watch",
    "recommendation request ": "recommendation",
    "GET /create_account": "new_account",
}
MAX_LINE = 10_000
OK = 200
WHOLE_SECONDS = len("2026-01-01T00:00:00")


class Rating(NamedTuple):
    """`user` rated `film` with `stars` at `time` (ISO 8601 with seconds, and with decimals where the line has them)."""

    time: str
    user: int
    film: str
    stars: float


class Watch(NamedTuple):
    """`user` watched the minute number `minute` of `film`."""

    time: str
    user: int
    film: str
    minute: int


class Recommendation(NamedTuple):
    """The film service sent a request for `user` to `server`. Status 200 has `films`, any other status has `error`."""

    time: str
    user: int
    server: str
    status: int
    films: tuple[str, ...]
    error: str
    milliseconds: int


class NewAccount(NamedTuple):
    """`user` made an account."""

    time: str
    user: int


class Reject(NamedTuple):
    """A rejected line, whole, and the reason."""

    reason: str
    line: str


Event: TypeAlias = Rating | Watch | Recommendation | NewAccount


class Repaired(NamedTuple):
    """The event of a damaged line whose meaning is certain, with the line as it came."""

    event: Event
    line: str


Parsed: TypeAlias = Event | Repaired | Reject


@dataclass(frozen=True)
class Rules:
    """The rules beyond the form of a line: the scale of ratings, and the highest user id.

    With whole bounds a rating is a whole number; with a bound at a half, halves are allowed.
    """

    rating_min: float = 1.0
    rating_max: float = 5.0
    user_max: int = 1_999_999

    @cached_property
    def stars(self) -> dict[str, float]:
        """The ratings of the scale, by their text."""
        step = 1.0 if self.rating_min % 1 == self.rating_max % 1 == 0 else 0.5
        count = int((self.rating_max - self.rating_min) / step) + 1
        return {f"{value:g}": value for value in (self.rating_min + step * at for at in range(count))}


DEFAULT_RULES = Rules()


class LineSettings(Protocol):
    """The settings that decide which lines are valid."""

    @property
    def rating_min(self) -> float:
        """The lowest rating."""
        ...

    @property
    def rating_max(self) -> float:
        """The highest rating."""
        ...

    @property
    def user_id_max(self) -> int:
        """The highest user id."""
        ...


def rules_of(settings: LineSettings) -> Rules:
    """The rules of the settings."""
    return Rules(settings.rating_min, settings.rating_max, settings.user_id_max)


def parse(line: str, rules: Rules = DEFAULT_RULES) -> Parsed:
    """One line of the stream, with or without its line end, as an event, a repaired event or a reject. Never raises."""
    event = _parse_sound(line, rules)
    return event if event is not None else _parse_damaged(line.rstrip("\r\n"), rules)


def watches_of(lines: Sequence[str], rules: Rules = DEFAULT_RULES) -> list[tuple[str, str, str]] | None:
    """Time, user and film of each line that is a plain watch, or three empty texts. None if each line must be parsed alone.

    This is `parse` for many lines at once, in a fraction of the time: 98 of 100 lines of the stream are plain watches. The
    time is as in the line, with or without seconds.
    """
    found: list[tuple[str, str, str]] = _plain_watches(rules.user_max)("\n".join(lines))
    return None if len(found) != len(lines) or max(map(len, lines), default=0) > MAX_LINE else found


def with_seconds(time: str) -> str:
    """A time of the stream with its seconds. Decimals stay as they are."""
    return time if len(time) >= WHOLE_SECONDS else time + ":00"


def in_microseconds(time: str) -> str:
    """A time of the stream with 6 decimals. The order of these texts is the order of the times in training."""
    whole, _, decimals = with_seconds(time).partition(".")
    return f"{whole}.{decimals[:6]:0<6}"


@lru_cache(maxsize=8)
def _plain_watches(user_max: int) -> Callable[[str], list[tuple[str, str, str]]]:
    """A function that finds time, user and film of the plain watch in each line of a text, or three empty texts."""
    watch = rf"({_SURE_DAY}{_HOUR}(?:{_SECONDS})?),({_up_to(user_max)}),GET /data/m/({FILM})/\d{{1,4}}\.mpg"
    return re.compile(rf"^(?:{watch}|.*)$", re.ASCII | re.MULTILINE).findall


def _up_to(number: int) -> str:
    """A pattern of the numbers from 0 to `number`, without leading zeros."""
    digits = str(number)
    shorter = rf"[1-9]\d{{0,{len(digits) - 2}}}|" if len(digits) > 1 else ""
    lower = "".join(
        rf"{digits[:at]}[{least}-{int(digit) - 1}]\d{{{len(digits) - at - 1}}}|"
        for at, digit in enumerate(digits)
        if int(digit) > (least := int(at == 0 and len(digits) > 1))
    )
    return f"0|{shorter}{lower}{digits}"


def to_line(event: Event) -> str:
    """The stream line of an event, always with seconds. Parsing the line gives the event again."""
    match event:
        case Rating():
            return f"{event.time},{event.user},GET /rate/{event.film}={event.stars:g}"
        case Watch():
            return f"{event.time},{event.user},GET /data/m/{event.film}/{event.minute}.mpg"
        case NewAccount():
            return f"{event.time},{event.user},GET /create_account"
        case Recommendation():
            result = ", ".join(event.films) if event.status == OK else event.error
            return (
                f"{event.time},{event.user},recommendation request {event.server}, "
                f"status {event.status}, result: {result}, {event.milliseconds} ms"
            )


def kind_of(line: str) -> str:
    """The intended kind of a damaged line, by the beginning of its request. `other` if no kind fits."""
    fields = line.split(",", 2)
    request = fields[2] if len(fields) > 2 else ""
    return next((kind for beginning, kind in KINDS.items() if request.startswith(beginning)), "other")


def is_film(text: str) -> bool:
    """Whether `text` has the form of a film's id."""
    return _FILM_ID.fullmatch(text) is not None


def _parse_sound(line: str, rules: Rules, *, _new: Callable[..., Any] = tuple.__new__) -> Event | None:
    """The event of an undamaged line, or None. Tuples are made without checks, because 1,000 lines come each second."""
    found = _RATING_OR_WATCH(line)
    if found is None:
        return _parse_rare(line.rstrip("\r\n"), rules)
    time, late, seconds, user_text, rated, stars_text, watched, minute = found.groups()
    user = int(user_text)
    if user > rules.user_max or len(line) > MAX_LINE or (late is not None and not _is_day(time[:10])):
        return None
    if seconds is None:
        time += ":00"
    if rated is None:
        return _new(Watch, (time, user, watched, int(minute)))  # type: ignore[no-any-return]
    stars = rules.stars.get(stars_text)
    return None if stars is None else _new(Rating, (time, user, rated, stars))


def _parse_rare(line: str, rules: Rules) -> Event | None:
    """The event of a line of a rare kind (one in a hundred), or None."""
    found = _NEW_ACCOUNT.fullmatch(line) or (_RECOMMENDATION.fullmatch(line) if len(line) <= MAX_LINE else None)
    if found is None:
        return None
    time, _, seconds, *others = found.groups()
    whole = time if seconds is not None else f"{time}:00"
    user = int(others[0])
    if user > rules.user_max or not _is_day(time[:10]):
        return None
    return NewAccount(whole, user) if len(others) == 1 else _recommendation(whole, user, others)


def _recommendation(time: str, user: int, groups: list[str | None]) -> Recommendation | None:
    _, server, status, result, milliseconds = (group or "" for group in groups)
    films: tuple[str, ...] = ()
    if int(status) == OK:
        films, result = tuple(film.removeprefix(" ") for film in result.split(",")), ""
        if not all(map(is_film, films)):
            return None
    return Recommendation(time, user, server, int(status), films, result, int(milliseconds))


@lru_cache(maxsize=4096)
def _is_day(day: str) -> bool:
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    return True


def _parse_damaged(line: str, rules: Rules) -> Repaired | Reject:
    """A damaged line is repaired if removing one letter or blank gives exactly one sound line. Otherwise it is rejected."""
    repaired = {fixed for fixed in _without_one_sign(line) if _parse_sound(fixed, rules) is not None}
    if len(repaired) == 1:
        event = _parse_sound(repaired.pop(), rules)
        if event is not None:
            return Repaired(event, line)
    return Reject(_reason(line, rules), line)


def _without_one_sign(line: str) -> set[str]:
    """All lines that result from removing one letter or blank from the time, the minute or the rating."""
    spans = []
    time = _FIRST_FIELD.match(line)
    if time is not None and len(time[0]) <= len("2026-01-01T00:00:00.123456789") + 1:
        spans.append(time.span())
    tail = _TAIL_FIELD.fullmatch(line)
    if tail is not None and len(tail[1]) <= len("1215.mpg") + 1:
        spans.append(tail.span(1))
    return {
        line[:at] + line[at + 1 :]
        for start, end in spans
        for at in range(start, end)
        if line[at] == " " or (line[at].isascii() and line[at].isalpha())
    }


def _reason(line: str, rules: Rules) -> str:
    """The first error of a line, in the order of its fields."""
    if not line.strip():
        return "empty"
    if len(line) > MAX_LINE:
        return "too_long"
    fields = line.split(",", 2)
    if len(fields) < 3:
        return "fields_missing"
    time, user, request = fields
    return _time_reason(time) or _user_reason(user, rules) or _request_reason(request, rules)


def _time_reason(time: str) -> str | None:
    return None if _WHOLE_TIME.fullmatch(time) and _is_day(time[:10]) else "time"


def _user_reason(user: str, rules: Rules) -> str | None:
    if _USER_ID.fullmatch(user) is None:
        return "user"
    return "user_out_of_range" if int(user) > rules.user_max else None


def _request_reason(request: str, rules: Rules) -> str:
    if request.startswith("GET /rate/"):
        film, equals, rating = request.removeprefix("GET /rate/").rpartition("=")
        if not film and not rating:
            return "film_and_rating_missing"
        if not equals or not is_film(film):
            return "film"
        return _rating_reason(rating, rules) if rating else "rating_missing"
    if request.startswith("GET /data/m/"):
        film, _, _ = request.removeprefix("GET /data/m/").rpartition("/")
        return "minute" if is_film(film) else "film"
    return "recommendation" if request.startswith("recommendation request ") else "request"


def _rating_reason(rating: str, rules: Rules) -> str:
    """The reason of a wrong rating: a number outside of the scale, or not a number of the scale."""
    number = float(rating) if _NUMBER.fullmatch(rating) else None
    if number is not None and number > rules.rating_max:
        return "rating_above_scale"
    return "rating_below_scale" if number is not None and number < rules.rating_min else "rating"
