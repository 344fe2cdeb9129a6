"""What the values on the command line may be; each function reads one, or says what is wrong with it."""

import math
from argparse import ArgumentTypeError
from datetime import UTC, datetime

from scripts.simulator.errors import InputError
from scripts.simulator.options import NO_RECOMMENDER, POPULAR
from scripts.simulator.service import server_of
from scripts.simulator.sink import KAFKA, kafka_address

HIGHEST_PORT = 65_535


def number(text: str) -> float:
    """Read any finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ArgumentTypeError(f"{text!r} is not a number")
    return value


def whole(text: str) -> int:
    """Read a whole number from 0 on."""
    if not (text.isascii() and text.isdecimal()):
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def count(text: str) -> int:
    """Read a whole number from 1 on."""
    value = whole(text)
    if value < 1:
        raise ArgumentTypeError("at least 1 is needed")
    return value


def port(text: str) -> int:
    """Read a port; 0 means any free one."""
    value = whole(text)
    if value > HIGHEST_PORT:
        raise ArgumentTypeError(f"a port is at most {HIGHEST_PORT}")
    return value


def positive(text: str) -> float:
    """Read a number above 0."""
    value = number(text)
    if value <= 0:
        raise ArgumentTypeError(f"{text} is not above 0")
    return value


def not_negative(text: str) -> float:
    """Read a number from 0 on."""
    value = number(text)
    if value < 0:
        raise ArgumentTypeError(f"{text} is below 0")
    return value


def share(text: str) -> float:
    """Read a share from 0 to 1."""
    value = not_negative(text)
    if value > 1:
        raise ArgumentTypeError(f"{text} is no share: give it from 0 to 1")
    return value


def time(text: str) -> datetime:
    """Read a time such as 2026-01-05T08:00:00; it is taken as the stream's own, without a zone."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC, microsecond=0)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no time: give it as 2026-01-05T08:00:00") from error


def service(text: str) -> str:
    """Read the address of a service, `http://HOST:PORT`."""
    try:
        server_of(text)
    except InputError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


def recommender(text: str) -> str:
    """Read who is to answer requests: `none`, `popular`, or the address of a service."""
    return text if text in {NO_RECOMMENDER, POPULAR} else service(text)


def output(text: str) -> str:
    """Read where lines go; an address of a topic must be one."""
    if text.startswith(KAFKA):
        try:
            kafka_address(text)
        except InputError as error:
            raise ArgumentTypeError(str(error)) from error
    return text
