"""The command line of `scripts/simulate`, read into options, and the one that writes the shipped sample."""

import argparse
import math
from argparse import ArgumentTypeError
from collections.abc import Sequence
from datetime import UTC, datetime

from scripts.simulator.errors import InputError
from scripts.simulator.lines import DEFAULT_LINES, NO_RECOMMENDER, POPULAR, DamageRates, StreamOptions
from scripts.simulator.service import server_of
from scripts.simulator.sink import KAFKA, STDOUT, kafka_address
from scripts.simulator.visit import VisitOptions

# The command that writes the shipped sample. Watch lines are thinned to one minute in a hundred, so that several ratings a user
# fit into less than a megabyte. Damage is more frequent than in the real stream, so that every kind of it occurs.
SAMPLE_PATH = "data/sample/movielog.log"
SAMPLE_ARGUMENTS = (
    *("stream", "--seed", "7", "--users", "900", "--films", "400", "--skew", "0.8"),
    *("--ratings", "6800", "--start", "2026-01-05T08:00:00", "--days", "20"),
    *("--minutes-share", "0.0105", "--request-share", "0.015", "--damage", "0.003", "0.01", "0.003"),
)


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


USERS, FILMS, VISITORS = 10_000, 2_000, "1000000"
KINDS_OF_DAMAGE = 3
DECIMALS = (0, 3, 6, 9)

_STREAM, _VISIT, _RATES = StreamOptions(), VisitOptions(url=""), DamageRates()
_UPLIFT = (
    "effect of recommendations: in a session that begins with one, the weight of each recommended film in the user's "
    "choice is multiplied by 1 + UPLIFT (%(default)s)"
)
_DAMAGE = (
    "shares of ratings damaged, of watch lines damaged and of ratings left empty; a single RATE stands for all three "
    f"(as measured: {_RATES.ratings} {_RATES.watches} {_RATES.empty_ratings})"
)


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; wrong use ends the program with status 2."""
    parser = argparse.ArgumentParser(prog="simulate", description="Stands in for the film service.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="stream|visit|api")
    stream = commands.add_parser("stream", help="write lines of the service's stream")
    _add_stream(stream)
    _add_visit(commands.add_parser("visit", help="visit a recommender as the service would, and log what it answers"))
    _add_api(commands.add_parser("api", help="answer /user/<id> and /movie/<id> as the service does"))
    read = parser.parse_args(arguments)
    if read.command == "stream" and len(read.damage) not in {1, KINDS_OF_DAMAGE}:
        stream.error("argument --damage: give one RATE, or three")
    return read


def stream_options(read: argparse.Namespace) -> StreamOptions:
    """Take the options of `stream` from what was read."""
    return StreamOptions(
        start=read.start,
        days=read.days,
        decimals=read.decimals,
        lines=read.lines,
        ratings=read.ratings,
        rating_share=read.rating_share,
        request_share=read.request_share,
        minutes_share=read.minutes_share,
        uplift=read.uplift,
        recommender=read.recommender,
        timeout_ms=read.timeout_ms,
        damage=DamageRates(*(read.damage * KINDS_OF_DAMAGE)[:KINDS_OF_DAMAGE]),
    )


def visit_options(read: argparse.Namespace) -> VisitOptions:
    """Take the options of `visit` from what was read."""
    return VisitOptions(read.url, read.count, read.rate, read.clients, read.timeout_ms)


def _add_stream(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    _add_world(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--lines", type=count, metavar="N", help=f"so many lines ({DEFAULT_LINES})")
    length.add_argument("--ratings", type=count, metavar="N", help="lines until so many of them are ratings")
    add("--start", type=time, default=_STREAM.start, metavar="TIME", help="the beginning (2026-01-05T08:00:00)")
    exact = "decimals of the seconds in lines of watches, ratings and new accounts (%(default)s)"
    add("--decimals", type=int, choices=DECIMALS, default=_STREAM.decimals, help=exact)
    add("--days", type=positive, default=_STREAM.days, metavar="D", help="time spanned, about (%(default)s)")
    shares = (
        ("rating", _STREAM.rating_share, "films that are rated after they are watched"),
        ("request", _STREAM.request_share, "sessions that begin with a recommendation request"),
        ("minutes", _STREAM.minutes_share, "watched minutes that get a line"),
    )
    for name, default, text in shares:
        add(f"--{name}-share", type=share, default=default, metavar="SHARE", help=f"{text} (%(default)s)")
    rates = [_RATES.ratings, _RATES.watches, _RATES.empty_ratings]
    add("--damage", type=share, nargs="+", default=rates, metavar="RATE", help=_DAMAGE)
    who = "who answers the requests (%(default)s)"
    add("--recommender", type=recommender, default=_STREAM.recommender, metavar="none|popular|URL", help=who)
    _add_timeout(parser, _STREAM.timeout_ms)
    add("--uplift", type=not_negative, default=_STREAM.uplift, metavar="UPLIFT", help=_UPLIFT)
    _add_output(parser)


def _add_visit(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--url", type=service, required=True, help="the recommender, http://HOST:PORT")
    who = "ids from 1 to N at random, or the lines of FILE over and over (%(default)s)"
    add("--users", default=VISITORS, metavar="FILE|N", help=who)
    add("--count", type=count, default=_VISIT.count, metavar="N", help="visits (%(default)s)")
    add("--rate", type=positive, metavar="R", help="visits a second, begun on time (as fast as --clients can)")
    clients = "without --rate: clients that visit again once they are answered (%(default)s)"
    add("--clients", type=count, default=_VISIT.clients, metavar="N", help=clients)
    _add_timeout(parser, _VISIT.timeout_ms)
    add("--seed", type=whole, default=0, metavar="N", help="picks the visitors (%(default)s)")
    _add_output(parser)


def _add_api(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=port, default=8080, metavar="N", help="0 takes any free one (%(default)s)")
    add("--rate-limit", type=positive, metavar="R", help="requests a second that are answered (all)")
    _add_world(parser)


def _add_world(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seed", type=whole, default=0, metavar="N", help="same seed, same world and stream (%(default)s)")
    add("--users", type=count, default=USERS, metavar="N", help="users of the world (%(default)s)")
    add("--films", type=count, default=FILMS, metavar="N", help="films of the world (%(default)s)")
    skew = "popularity falls with the rank as 1 / rank ** SKEW (%(default)s)"
    add("--skew", type=not_negative, default=1.0, metavar="SKEW", help=skew)


def _add_timeout(parser: argparse.ArgumentParser, default: float) -> None:
    patience = "patience with a service's answer (%(default)g)"
    parser.add_argument("--timeout-ms", type=positive, default=default, metavar="MS", help=patience)


def _add_output(parser: argparse.ArgumentParser) -> None:
    where = "a file, which appears once it is whole, kafka://HOST:PORT/TOPIC, or - for standard output (%(default)s)"
    parser.add_argument("--output", type=output, default=STDOUT, metavar="FILE|TOPIC|-", help=where)
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
