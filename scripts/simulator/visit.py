"""Visits to a recommender, like the film service makes them: a line for each visit, and a summary."""

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
from scripts.simulator.lines import RequestOutcome, recommendation
from scripts.simulator.service import ServiceClient
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
class VisitReport:
    """The outcomes of all visits."""

    failures: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)

    def add(self, answer: RequestOutcome) -> None:
        """Count one answer."""
        self.milliseconds.append(answer.milliseconds)
        if answer.failure:
            self.failures[answer.failure] += 1

    @property
    def failed(self) -> int:
        """The number of failed visits of all kinds."""
        return self.failures.total()

    def summary(self) -> str:
        """The summary in one line. The percentiles include failed requests."""
        requests = len(self.milliseconds)
        kinds = ", ".join(f"{kind} {times}" for kind, times in self.failures.most_common())
        failed = f"{self.failed} ({kinds})" if kinds else "0"
        text = f"requests {requests}, ok {requests - self.failed}, failed {failed}"
        if not requests:
            return text
        middle, slow = np.percentile(self.milliseconds, [50, 99])
        return f"{text}, p50 {middle:.1f} ms, p99 {slow:.1f} ms"


class VisitSchedule:
    """Gives each visit to a client when the visit is due. Threads may share it."""

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


class VisitLog:
    """Writes the outcomes of visits: one line at a time, in the order of their times."""

    def __init__(self, sink: Sink, report: VisitReport, show: Callable[[int], None]) -> None:
        """Write to `sink`, count in `report`, and show the number of visits so far."""
        self._sink, self._report, self._show = sink, report, show
        self._lock = Lock()

    def note(self, user: str, answer: RequestOutcome) -> None:
        """Take one answer, as of now."""
        with self._lock:
            now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
            self._sink.write(f"{now},{recommendation(user, answer)}")
            self._report.add(answer)
            self._show(len(self._report.milliseconds))


def visit(options: VisitOptions, users: Iterator[str], visit_log: VisitLog) -> None:
    """Make all visits. After an interruption or an error of a client, no new visit starts."""
    schedule = VisitSchedule(options, users)
    with ThreadPoolExecutor(options.connections) as pool:
        try:
            visits = [pool.submit(_visit_on, options, schedule, visit_log) for _ in range(options.connections)]
            # Only now: after an interruption, the pool does not wait for a thread that was just starting.
            schedule.open()
            # A signal at the begin of a wait is noticed only at its end, so each wait is short.
            while wait(visits, timeout=LONGEST_WAIT_SECONDS).not_done:
                continue
            for visiting in visits:
                visiting.result()
        finally:
            schedule.close()


def _visit_on(options: VisitOptions, schedule: VisitSchedule, visit_log: VisitLog) -> None:
    with closing(ServiceClient(options.url, options.timeout_ms)) as client:
        while user := schedule.take():
            visit_log.note(user, client.ask(user))
