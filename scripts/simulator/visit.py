"""Visits to a recommender, as the film service makes them, each with its line and all with a summary."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from math import ceil
from pathlib import Path
from threading import Event, Lock
from time import monotonic

import numpy as np

from scripts.simulator.errors import InputError
from scripts.simulator.lines import Answer, recommendation
from scripts.simulator.service import Client
from scripts.simulator.sink import Sink
from scripts.simulator.world import Draws

_VISITORS = 30


def visitors(users: str, seed: int) -> Iterator[str]:
    """Name visitors without end: with a number N ids from 1 to N at random, with a file its lines over and over."""
    if users.isdecimal() and int(users):
        return _at_random(int(users), Draws(seed, _VISITORS))
    try:
        listed = [line.strip("\r") for line in Path(users).read_text("utf-8").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the users from {users}: {error}; give a number, or a file with one id a line") from error
    if not any(listed):
        raise InputError(f"{users} names no user: give a number, or a file with one id a line")
    return cycle(filter(None, listed))


def _at_random(highest: int, draws: Draws) -> Iterator[str]:
    while True:
        yield str(1 + draws.below(highest))


LONGEST_WAIT_SECONDS = 0.2


@dataclass(frozen=True)
class VisitOptions:
    """How to visit.

    With a `rate` (visits a second) visits begin on time, whatever the earlier ones do. Without it each of the `clients` visits
    again as soon as it has its answer.
    """

    url: str
    count: int = 1000
    rate: float | None = None
    clients: int = 16
    timeout_ms: float = 600.0

    @property
    def connections(self) -> int:
        """So many visits can be under way at once: none takes longer than the time-out."""
        wanted = self.clients if self.rate is None else ceil(self.rate * self.timeout_ms / 1000) + 2
        return min(wanted, self.count)


@dataclass
class Report:
    """What became of the visits."""

    failures: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.milliseconds.append(answer.milliseconds)
        if answer.failure:
            self.failures[answer.failure] += 1

    @property
    def failed(self) -> int:
        """All that failed, of whatever kind."""
        return self.failures.total()

    def summary(self) -> str:
        """Tell it in one line; the percentiles are over all requests, failed ones too."""
        requests = len(self.milliseconds)
        kinds = ", ".join(f"{kind} {times}" for kind, times in self.failures.most_common())
        failed = f"{self.failed} ({kinds})" if kinds else "0"
        text = f"requests {requests}, ok {requests - self.failed}, failed {failed}"
        if not requests:
            return text
        middle, slow = np.percentile(self.milliseconds, [50, 99])
        return f"{text}, p50 {middle:.1f} ms, p99 {slow:.1f} ms"


class Tickets:
    """Hands out the visits, each when it is due, from the opening to the closing. Safe between threads."""

    def __init__(self, options: VisitOptions, users: Iterator[str]) -> None:
        """Hand out nothing yet."""
        self._options, self._users = options, users
        self._lock, self._opened, self._closed = Lock(), Event(), Event()
        self._taken, self._begun = 0, 0.0

    def open(self) -> None:
        """Begin the schedule now."""
        self._begun = monotonic()
        self._opened.set()

    def take(self) -> str | None:
        """Wait until the next visit is due and name the visitor, or give None when there are no more."""
        self._opened.wait()
        with self._lock:
            if self._taken >= self._options.count:
                return None
            user, number = next(self._users), self._taken
            self._taken += 1
        early = self._begun + number / self._options.rate - monotonic() if self._options.rate else 0.0
        return None if self._closed.wait(max(0.0, early)) else user

    def close(self) -> None:
        """Hand out no more, also to those who wait."""
        self._closed.set()
        self._opened.set()


class Desk:
    """Where the visitors' answers are written down: one line at a time, in the order of its times."""

    def __init__(self, sink: Sink, report: Report, tell: Callable[[int], None]) -> None:
        """Write to `sink`, count in `report`, and tell how many there are so far."""
        self._sink, self._report, self._tell = sink, report, tell
        self._lock = Lock()

    def note(self, user: str, answer: Answer) -> None:
        """Take one answer, as of now."""
        with self._lock:
            now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
            self._sink.write(f"{now},{recommendation(user, answer)}")
            self._report.add(answer)
            self._tell(len(self._report.milliseconds))


def visit(options: VisitOptions, users: Iterator[str], desk: Desk) -> None:
    """Make all the visits; an interruption, or an error of one visitor, ends them after those under way."""
    tickets = Tickets(options, users)
    with ThreadPoolExecutor(options.connections) as pool:
        try:
            visits = [pool.submit(_visit_on, options, tickets, desk) for _ in range(options.connections)]
            # Only now: the pool does not wait for a thread during whose start it is interrupted.
            tickets.open()
            # A signal that comes just as a wait begins is noticed only when the wait ends, so none is long.
            while wait(visits, timeout=LONGEST_WAIT_SECONDS).not_done:
                continue
            for visiting in visits:
                visiting.result()
        finally:
            tickets.close()


def _visit_on(options: VisitOptions, tickets: Tickets, desk: Desk) -> None:
    with closing(Client(options.url, options.timeout_ms)) as client:
        while user := tickets.take():
            desk.note(user, client.ask(user))
