"""The forms of the stream's lines."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

SECOND = 1_000_000_000
MICROSECOND = 1_000
MILLISECOND = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """What a line tells."""

    WATCH = "watch"
    RATING = "rating"
    RECOMMENDATION = "recommendation"
    ACCOUNT = "account"


@dataclass(frozen=True)
class Answer:
    """What became of one recommendation request. `failure` names its kind, and is empty when all is well."""

    server: str
    status: int
    result: str
    milliseconds: float
    films: tuple[str, ...] = ()
    failure: str = ""


def watch(user_id: int, film: str, minute: int) -> str:
    """Tell that one minute was watched; like all bodies here, without the time in front."""
    return f"{user_id},GET /data/m/{film}/{minute}.mpg"


def rating(user_id: int, film: str, stars: int) -> str:
    """Tell a rating."""
    return f"{user_id},GET /rate/{film}={stars}"


def account(user_id: int) -> str:
    """Tell of a new account."""
    return f"{user_id},GET /create_account"


def recommendation(user_id: int | str, answer: Answer) -> str:
    """Tell what became of a recommendation request; line breaks in an error become blanks."""
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
