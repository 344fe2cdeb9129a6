"""`python -m tests.bench.rebuild MODEL`: two days of lines are followed again, in less time: seconds and memory as JSON.

95 million lines have 960,000 viewings of 99 minutes, 33,000 at a time. Here each viewing has five minutes and a rating, so the
state becomes that of two days. Then more minutes show what a line costs. Some of the lists are computed, all others are copies.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.events import Rating, Reject, Repaired, Watch, parse, to_line
from app.fresh.list_model import ListModel
from app.fresh.overlay import write
from app.fresh.state import State
from app.fresh.writer import most_changed
from app.settings import FreshSettings
from tests.bench.measure import Row, row
from tests.bench.recommend import USERS
from tests.bench.servers import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from app.fresh.list_model import ComputedList, Films, NewLike

LINES = 95_000_000
VIEWINGS, AT_ONCE, MINUTES = 960_000, 33_000, 5
LATER_MINUTES = 30
PEOPLE, ACTIVITY_SPREAD = 1_000_000, 0.8
COMPUTED = 10_000
TIME = "2026-11-29T12:00:00"
# On one core: half an hour, and 1.5 GB.
MOST_SECONDS, MOST_GB = 1800.0, 1.5


@dataclass(frozen=True)
class Found:
    """Processor time in seconds, of two days where nothing else is said, and the peak of memory in GB of 10^9 bytes.

    `write_s` is that of a base, `recent_s` that of a `recent` that is half as long as it can be.
    """

    measured_lines: int
    users: int
    lists: int
    line_us: float
    list_us: float
    read_s: float
    lists_s: float
    write_s: float
    recent_s: float
    file_gb: float
    peak_gb: float


class _Model(ListModel):
    """A million users have the histories of the artifact's users by turns. Films are as long as viewings.

    After `COMPUTED` lists all others are copies of the last one.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._minutes = np.full(len(self.films), MINUTES, dtype=np.float32)
        self._last: ComputedList | None = None
        self.computed = 0
        self.seconds = 0.0

    def row_of(self, user: int) -> int | None:
        """A row for everybody."""
        return user % USERS

    def compute(self, row: int | None, likes: tuple[NewLike, ...], struck: Films) -> ComputedList:
        """See `ListModel.compute`."""
        if self._last is None or self.computed < COMPUTED:
            began = time.process_time()
            self._last = super().compute(row, likes, struck)
            self.seconds += time.process_time() - began
            self.computed += 1
        return self._last


def rows(model: Path) -> Iterator[Row]:
    """The rows: two days of lines followed again in a process of their own.

    Films are struck once all lines are read. While lists are computed, `recent` is written every second, and a base whenever
    the writer writes one.
    """
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.bench.rebuild", str(model)]
    ended = subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
    found = Found(**json.loads(ended.stdout))
    sys.stdout.write(
        f"  {found.measured_lines:,} lines, {found.users:,} users with news, {found.line_us:.2f} us a line, "
        f"{found.lists:,} lists of {found.list_us:.0f} us, a base of {found.file_gb:.2f} GB in {found.write_s:.1f} s, "
        f"`recent` in {found.recent_s:.3f} s\n"
    )
    struck = found.read_s + found.write_s
    checkpoint_s = FreshSettings.model_fields["checkpoint_seconds"].default
    bases = found.lists / most_changed(found.users) + found.lists_s / checkpoint_s
    listed = struck + found.lists_s * (1 + found.recent_s) + bases * found.write_s
    for measure, ours in (("films are struck", struck), ("lists are computed", listed)):
        yield row("fresh", f"two days again, until {measure}", [(ours, MOST_SECONDS)], "lower", 1.0, "s")
    yield row("fresh", "two days again, peak memory", [(found.peak_gb, MOST_GB)], "lower", 1.0, "GB")


def measured(folder: Path, viewings: int = VIEWINGS, at_once: int = AT_ONCE) -> Found:
    """Follow so many viewings, of which `at_once` are under way at any time."""
    model = _Model(folder)
    state, base = State(model), folder / "base"
    users, films = _viewings(model.films, viewings)
    lines = took = 0.0
    for block in _stream(users, films, at_once):
        took += _follow(state, model, block)
        lines += len(block)
    later_lines = later = 0.0
    for minute in range(LATER_MINUTES):
        block = _minutes(users[-at_once:], films[-at_once:], MINUTES + minute)
        later += _follow(state, model, block)
        later_lines += len(block)
    line = later / later_lines
    began = time.process_time()
    write(base, {}, state.records())
    write_s = time.process_time() - began
    began = time.process_time()
    state.compute_due()
    rest = time.process_time() - began - model.seconds
    one = model.seconds / model.computed + rest / state.lists
    began = time.process_time()
    write(base, {}, state.records())
    write_s = max(write_s, time.process_time() - began)
    records = state.records()
    half = dict(islice(records.items(), most_changed(len(records)) // 2))
    began = time.process_time()
    write(base.with_name("recent"), {}, half)
    recent_s = time.process_time() - began
    base.with_name("recent").unlink()
    size = base.stat().st_size
    base.unlink()
    return Found(
        measured_lines=int(lines + later_lines),
        users=len(state.records()),
        lists=state.lists,
        line_us=line * 1e6,
        list_us=one * 1e6,
        read_s=took + max(LINES * viewings / VIEWINGS - lines, 0) * line,
        lists_s=state.lists * one,
        write_s=write_s,
        recent_s=recent_s,
        file_gb=size / 1e9,
        peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    )


def _follow(state: State, model: ListModel, lines: Sequence[str]) -> float:
    """Take lines to the state, as the process does. Returns the processor time in seconds."""
    began = time.process_time()
    for line in lines:
        event = parse(line, model.rules)
        if isinstance(event, Repaired):
            event = event.event
        if not isinstance(event, Reject):
            state.apply(event)
    return time.process_time() - began


def _viewings(films: Sequence[str], count: int) -> tuple[list[int], list[str]]:
    """Users and films of the viewings: some users are far more active than others, and some films far more popular."""
    rng = np.random.default_rng(0)
    activity = np.cumsum(rng.lognormal(sigma=ACTIVITY_SPREAD, size=PEOPLE))
    popularity = np.cumsum(1.0 / np.arange(1, len(films) + 1))
    users, places = (np.searchsorted(each, rng.random(count) * each[-1]) for each in (activity, popularity))
    return users.tolist(), [films[place] for place in places.tolist()]


def _stream(users: Sequence[int], films: Sequence[str], at_once: int) -> Iterator[list[str]]:
    """The lines of all viewings, a block for each minute."""
    new = at_once // MINUTES
    for start in range(0, len(users) + at_once, new):
        block = []
        for minute in range(MINUTES + 1):
            mine = slice(max(start - minute * new, 0), max(start - (minute - 1) * new, 0))
            if minute < MINUTES:
                block += _minutes(users[mine], films[mine], minute)
            else:
                block += [to_line(Rating(TIME, *each, 1 + each[0] % 5)) for each in zip(users[mine], films[mine], strict=True)]
        yield block


def _minutes(users: Sequence[int], films: Sequence[str], minute: int) -> list[str]:
    return [to_line(Watch(TIME, user, film, minute)) for user, film in zip(users, films, strict=True)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measured(Path(sys.argv[1])))))
