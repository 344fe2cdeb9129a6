"""Runs `python -m scripts.simulator`: the three commands, their ends and their exit statuses. On TERM it ends with 143."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from scripts.simulator.api import FilmApi, RateLimit
from scripts.simulator.arguments import read_arguments, stream_options, visit_options
from scripts.simulator.errors import SimulatorError
from scripts.simulator.lines import Kind
from scripts.simulator.sink import STDOUT, ProgressLine, ReaderGoneError, open_sink
from scripts.simulator.stream import LineCounts, stream_lines
from scripts.simulator.visit import VisitLog, VisitReport, visit, visitors
from scripts.simulator.world import World

DONE, FAILED, INTERRUPTED = 0, 1, 130
LINES_PER_UPDATE = 256


def main(arguments: Sequence[str]) -> int:
    """Run one command and give its exit status."""
    read = read_arguments(arguments)
    run = {"stream": _stream, "visit": _visit, "api": _api}[read.command]
    try:
        return run(read)
    except ReaderGoneError:
        return DONE
    except SimulatorError as error:
        _say(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _stream(read: argparse.Namespace) -> int:
    options, tally = stream_options(read), LineCounts()
    measure = "lines" if options.ratings is None else "ratings"
    progress = _progress(read, options.wanted, measure)
    lines = stream_lines(World.generate(read.seed, read.users, read.films, read.skew), options, tally)
    with open_sink(read.output) as sink:
        for number, line in enumerate(lines):
            sink.write(line)
            if number % LINES_PER_UPDATE == 0:
                progress.show(tally.lines if options.ratings is None else tally.counts[Kind.RATING])
    progress.finish(options.wanted)
    return DONE


def _visit(read: argparse.Namespace) -> int:
    options, report = visit_options(read), VisitReport()
    progress = _progress(read, options.count, "visits")
    users = visitors(read.users, read.seed)
    try:
        with open_sink(read.output, live=True) as sink:
            visit(options, users, VisitLog(sink, report, progress.show))
    finally:
        progress.finish(len(report.milliseconds))
        _say(report.summary())
    return FAILED if report.failed else DONE


def _api(read: argparse.Namespace) -> int:
    world = World.generate(read.seed, read.users, read.films, read.skew)
    with FilmApi(world, read.host, read.port, RateLimit(read.rate_limit)) as server:
        _say(f"answering on http://{read.host}:{server.server_port}")
        server.serve_forever()
    return DONE


def _progress(read: argparse.Namespace, total: int, unit: str) -> ProgressLine:
    between_the_lines = read.output == STDOUT and sys.stdout.isatty()
    return ProgressLine(None if read.quiet or between_the_lines else sys.stderr, total, unit)


def _say(text: str) -> None:
    sys.stderr.write(f"simulate: {text}\n")


TERMINATED = 143


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main(sys.argv[1:]))
