"""`bench fresh`: what an answer costs with an overlay compared with none, and what it costs to follow the stream.

Also what a client costs that sends 1,000 lines a second, how long two days of lines take, and how much memory.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.events import Rating, Watch, to_line
from app.fresh.overlay import BASE, RECENT, UNRATED, Reader, Record, folder_of, pack, write
from tests.bench import fixtures, rebuild
from tests.bench.clients import closed_loop, percentile
from tests.bench.measure import PAIRS, Row, interleaved, row
from tests.bench.recommend import ASKED, USERS, WARM_UP, microseconds
from tests.bench.servers import ROOT, TICKS, server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The stream of a million users in a tenth of a second: 550 minutes watched and 7 ratings a second. A film of 100 minutes passes
# three milestones, so 23 lists are due in a second. The benchmark has a rating for each of them.
TICK = 0.1
WATCHES, LISTS = 55, 2
# A program that sends 1,000 lines a second for one user: ratings and minutes of all films.
CLIENT, CLIENT_LINES = 1, 100
FOLLOW_SECONDS = 60.0
TIME, NEW_USERS = "2026-11-29T12:00:00", 10**7
# A tenth of a core, and 5 s from a line to a changed answer.
SHARE_GOAL, DELAY_GOAL = 0.1, 5.0
PROCESSOR_GOALS = {"without": 1.02, "with": 1.05}
RECENT_USERS = 20_000


def run() -> list[Row]:
    """All rows."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        model = fixtures.artifact(folder / "model", USERS, fresh=True)
        streams = [each for lines in (0, CLIENT_LINES) for each in _follow(folder, model, lines)]
        return [*_answers(folder, model), *streams, *rebuild.rows(model)]


def _answers(folder: Path, model: Path) -> list[Row]:
    """Processor time of an answer, with an overlay of all users compared with none, and with one that has other users."""
    films = fixtures.FILMS
    record = pack(Record((1, films // 2), (1, 30), (UNRATED, 255), tuple(range(100, 140)), "BwAAAP8." + "A" * 80))
    overlays = {"without": range(ASKED, ASKED + USERS), "with": range(ASKED)}
    plain = {"MODEL_DIR": str(model), "JOURNAL_DIR": str(folder / "journals")}
    with ExitStack() as stack:
        baseline, rows = stack.enter_context(server(folder, "plain", plain)), []
        for kind, users in overlays.items():
            place = folder_of(folder / kind, model, 1)
            place.mkdir(parents=True)
            recent = users[:RECENT_USERS]
            write(place / BASE.format(1), {"marks": {}}, dict.fromkeys(users[RECENT_USERS:], record))
            write(place / RECENT, {"base": BASE.format(1)}, dict.fromkeys(recent, record))
            ours = stack.enter_context(server(folder, kind, {**plain, "FRESH": "true", "FRESH_DIR": str(folder / kind)}))
            for each in (ours, baseline):
                closed_loop(each.port, WARM_UP, ASKED)

            pairs = interleaved(lambda ours=ours: microseconds(ours), lambda: microseconds(baseline), PAIRS)  # type: ignore[misc]
            rows.append(row("fresh", f"processor_time {kind} new events", pairs, "lower", PROCESSOR_GOALS[kind], "us"))
    return rows


def _follow(folder: Path, model: Path, client_lines: int) -> list[Row]:
    """Follow the stream of a million users for a minute: the share of a core, and how long until an answer changes.

    `client_lines` in each tick are of one user.
    """
    file, fresh = folder / f"stream-{client_lines}.log", folder / f"fresh-{client_lines}"
    reader = Reader(folder_of(fresh, model, 1))
    with _process(model, fresh, file) as process:
        while reader.find(-1) is None and reader.problem:
            time.sleep(0.05)
        before, began = _seconds(process.pid), time.monotonic()
        delays = sorted(_write_stream(file, reader, client_lines))
        share = (_seconds(process.pid) - before) / (time.monotonic() - began)
    lines = f"{(WATCHES + LISTS + client_lines) / TICK:.0f} lines/s"
    return [
        row("fresh", f"core at {lines}", [(share, 1.0)], "lower", None if client_lines else SHARE_GOAL),
        row("fresh", f"line to overlay, p99, at {lines}", [(percentile(delays, 0.99), 1.0)], "lower", DELAY_GOAL, "s"),
    ]


def _write_stream(file: Path, reader: Reader, client_lines: int) -> Iterator[float]:
    """Write the stream. Yields how many seconds a rating of somebody new took to reach a reader."""
    films, waiting, chance = fixtures.film_ids(), dict[int, float](), random.Random(0)
    begun, tick = time.monotonic(), 0
    while (is_running := time.monotonic() < begun + FOLLOW_SECONDS) or waiting:
        if is_running:
            new = NEW_USERS + tick
            with file.open("a") as out:
                out.writelines(f"{to_line(each)}\n" for each in _events(films, tick, new))
                out.writelines(f"{to_line(_event_of_client(chance.choice(films), at))}\n" for at in range(client_lines))
            waiting[new] = time.monotonic()
            tick += 1
        until = begun + tick * TICK if is_running else time.monotonic() + TICK
        while time.monotonic() < until:
            for user in [user for user in waiting if reader.find(user) is not None]:
                yield time.monotonic() - waiting.pop(user)
            time.sleep(0.01)


def _events(films: Sequence[str], tick: int, new: int) -> Iterator[Rating | Watch]:
    """The events of a tick: a minute of each viewer in turn, and ratings, one of them by somebody new."""
    viewers = USERS // 3
    for number in range(tick * WATCHES, (tick + 1) * WATCHES):
        user = number % viewers * fixtures.USER_STEP
        yield Watch(TIME, user, films[user % len(films)], 1)
    for number in range(tick * LISTS, (tick + 1) * LISTS - 1):
        yield Rating(TIME, number % USERS * fixtures.USER_STEP, films[number % len(films)], 5)
    yield Rating(TIME, new, films[tick % len(films)], 5)


def _event_of_client(film: str, number: int) -> Rating | Watch:
    return Rating(TIME, CLIENT, film, 1 + number // 2 % 5) if number % 2 else Watch(TIME, CLIENT, film, 1)


@contextmanager
def _process(model: Path, fresh: Path, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "MODEL_DIR": str(model), "FRESH_DIR": str(fresh), "FOLLOW_FILE": str(file)}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    with subprocess.Popen([sys.executable, "-m", "app.fresh"], env=environment, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.terminate()


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
