"""`bench stack`: processor time of NGINX and services, compared with NGINX in front of three containers that say hello."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.clients import closed_loop
from tests.bench.measure import PAIRS, Row, interleaved, row
from tests.stack.stack import SERVICES, ComposeStack

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = 4_000
WARM_UP = 1_000
USERS = 2_000_000
GOAL = 1.43
HERE = Path(__file__).parent


def run() -> list[Row]:
    """One row. Both stacks run from the start, so that pairs differ in nothing but whom they ask."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as opened:
        ours = opened.enter_context(_up(ComposeStack(Path(name) / "ours", "movierec-bench")))
        hello = opened.enter_context(_up(_hello(Path(name) / "hello", ours)))
        for each in (ours, hello):
            closed_loop(each.port, WARM_UP, USERS)
        pairs = interleaved(lambda: _microseconds(ours), lambda: _microseconds(hello), PAIRS)
    return [row("stack", "processor_time", pairs, "lower", GOAL, "us")]


def _hello(folder: Path, ours: ComposeStack) -> ComposeStack:
    """The same stack with an image that says hello; the image is there when this returns."""
    image = "movierec-bench-hello"
    arguments = ["--build-arg", f"BASE={ours.name}:stable", "-f", str(HERE / "hello.Dockerfile")]
    ours.docker("build", "-q", "-t", f"{image}:stable", *arguments, str(HERE))
    return ComposeStack(folder, image, REQUEST_LOG="false")


@contextmanager
def _up(stack: ComposeStack) -> Iterator[ComposeStack]:
    """NGINX and its services; of the baseline nothing is built, for its image is there."""
    try:
        stack.up("nginx", *SERVICES)
        yield stack
    finally:
        stack.down()


def _microseconds(measured_stack: ComposeStack) -> float:
    """Processor time of NGINX and services, in microseconds a request."""
    before = measured_stack.processor_seconds_so_far()
    closed_loop(measured_stack.port, REQUESTS, USERS)
    return (measured_stack.processor_seconds_so_far() - before) / REQUESTS * 1e6
