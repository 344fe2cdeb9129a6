"""`bench recommend`: what an answer costs compared with a bare Flask hello with the same Gunicorn settings."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import fixtures
from tests.bench.clients import closed_loop, open_loop, percentile
from tests.bench.measure import PAIRS, Row, interleaved, row
from tests.bench.servers import HELLO, Server, server

if TYPE_CHECKING:
    from collections.abc import Mapping

USERS = 100_000
ASKED = USERS * fixtures.USER_STEP  # a third known, two thirds not
REQUESTS = 4_000
WARM_UP = 1_000
OPEN_SECONDS = 4.0
PROCESSOR_GOAL = 1.43
P99_GOAL = 3.0


def run() -> list[Row]:
    """All rows. Every server runs from the start, so that pairs differ in nothing but whom they ask."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        fixtures.artifact(folder / "model", USERS)
        hello = stack.enter_context(server(folder, "hello", {"METRICS": "0"}, HELLO))
        variants = {part: stack.enter_context(server(folder, part, parts)) for part, parts in _variants(folder).items()}
        for each in (hello, *variants.values()):
            closed_loop(each.port, WARM_UP, ASKED)
        whole = variants["metrics"]
        return [*_processor_time(variants, hello), *_speed(whole, hello)]


def _variants(folder: Path) -> dict[str, Mapping[str, str]]:
    """The service with one part more each time; the last one is the whole service."""
    bare = {"MODEL_DIR": str(folder / "model"), "JOURNAL_DIR": "", "REQUEST_LOG": "0", "METRICS": "0"}
    journal = {**bare, "JOURNAL_DIR": str(folder / "journals")}
    log = {**journal, "REQUEST_LOG": "1"}
    return {"look-up": bare, "journal": journal, "log": log, "metrics": {**log, "METRICS": "1"}}


def _processor_time(variants: Mapping[str, Server], hello: Server) -> list[Row]:
    rows = []
    for part, ours in variants.items():
        pairs = interleaved(lambda ours=ours: microseconds(ours), lambda: microseconds(hello), PAIRS)  # type: ignore[misc]
        whole = part == "metrics"
        measure = "processor_time" if whole else f"processor_time up to {part}"
        rows.append(row("recommend", measure, pairs, "lower", PROCESSOR_GOAL if whole else None, "us"))
    return rows


def microseconds(asked: Server) -> float:
    """Processor time of all workers, in microseconds a request."""
    before = asked.processor_seconds()
    closed_loop(asked.port, REQUESTS, ASKED)
    return (asked.processor_seconds() - before) / REQUESTS * 1e6


def _speed(ours: Server, hello: Server) -> list[Row]:
    speeds = interleaved(
        lambda: closed_loop(ours.port, REQUESTS, ASKED, 16), lambda: closed_loop(hello.port, REQUESTS, ASKED, 16), PAIRS
    )
    rate = sorted(speed for speed, _ in speeds)[len(speeds) // 2] / 2
    latencies = interleaved(lambda: _p99(ours, rate), lambda: _p99(hello, rate), PAIRS)
    return [
        row("recommend", "requests_per_second", speeds, "higher", None, "/s"),
        row("recommend", f"p99 at {rate:,.0f}/s, open loop", latencies, "lower", P99_GOAL, "ms"),
    ]


def _p99(asked: Server, rate: float) -> float:
    return percentile(open_loop(asked.port, rate, OPEN_SECONDS, ASKED), 0.99) * 1000
