from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from app.events import DEFAULT_RULES
from auto_deployment.ingestion.rows import rows_of
from auto_deployment.ingestion.sources import Block
from auto_deployment.online_evaluation.metrics import OnlineMetrics, compute_metrics
from auto_deployment.online_evaluation.parquet_store import ParquetStore
from auto_deployment.online_evaluation.popular import Popular
from auto_deployment.online_evaluation.uplift import Strata, uplift
from scripts.simulator.lines import StreamOptions
from scripts.simulator.stream import stream_lines
from scripts.simulator.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEED, LINES, BLOCK = 11, 200_000, 100_000
USERS, FILMS, DAYS = 250, 300, 4.0
IDS = [str(user) for user in World.generate(SEED, USERS, FILMS).users.ids.tolist()]
NEIGHBOURS = dict(zip(IDS, [*IDS[1:], IDS[0]], strict=True))
START = datetime(2026, 1, 5, 8)  # noqa: DTZ001 - the stream has no zone


def simulated(planted: float) -> list[str]:
    """A stream with this uplift; of each viewing the first minutes, which are what counts."""
    world = World.generate(SEED, USERS, FILMS)
    lines = stream_lines(world, StreamOptions(lines=LINES, days=DAYS, uplift=planted))
    return [line for line in lines if "/data/m/" not in line or line.endswith(("/0.mpg", "/1.mpg", "/2.mpg"))]


def metrics_of(folder: Path, lines: list[str]) -> OnlineMetrics:
    """The metrics of a stream."""
    store, left, offset = ParquetStore(folder / "telemetry"), iter(lines), 0
    while block := list(islice(left, BLOCK)):
        offset += len(block)
        store.keep("stream/0", {"offset": offset}, rows_of(Block("stream/0", range(len(block)), block, {}), DEFAULT_RULES))
    return compute_metrics(store, Popular(folder / "popular"), None, 30, START + timedelta(days=30))


def with_answers(lines: list[str], change: Callable[[str, str], str]) -> list[str]:
    """The lines with another time or user in those of recommendations; what `change` makes of their first two fields."""
    changed = []
    for line in lines:
        time, user, rest = line.split(",", 2)
        changed.append(f"{change(time, user)},{rest}" if rest.startswith("recommendation") else line)
    return changed


@pytest.fixture(scope="module")
def streams() -> dict[float, list[str]]:
    """Simulated once: without an effect, and with one that doubles the odds."""
    return {planted: simulated(planted) for planted in (0.0, 1.0)}


@pytest.mark.parametrize("planted", [0.0, 1.0])
def test_the_planted_uplift_is_within_the_interval(tmp_path: Path, streams: dict[float, list[str]], planted: float) -> None:
    """And the other one is not: the interval is not simply wide."""
    found = metrics_of(tmp_path, streams[planted]).uplift
    assert found is not None
    assert found.low <= planted <= found.high
    assert not found.low <= 1.0 - planted <= found.high


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda time, user: f"{_later(time, 5)},{user}", id="times shifted"),
        pytest.param(lambda time, user: f"{time},{NEIGHBOURS[user]}", id="users swapped"),
    ],
)
def test_a_wrong_join_does_not_find_it(
    tmp_path: Path, streams: dict[float, list[str]], change: Callable[[str, str], str]
) -> None:
    """With answers hours later, or of another user, no effect is left, where the right one finds it for certain."""
    found = metrics_of(tmp_path, with_answers(streams[1.0], change)).uplift
    assert found is not None
    assert found.low <= 0.0


def test_the_odds_ratio_of_known_tables() -> None:
    """Mantel and Haenszel's by hand: one stratum is its plain odds ratio, with the interval of Woolf; none of nothing."""
    a, b, c, d = 30.0, 20.0, 10.0, 40.0
    n = a + b + c + d
    p, q, r, s = (a + d) / n, (b + c) / n, a * d / n, b * c / n
    found = uplift(Strata(a + b, c + d, r, s, p * r, p * s + q * r, q * s))
    assert found is not None
    assert found.value == pytest.approx(a * d / (b * c) - 1)
    half = 1.959964 * (1 / a + 1 / b + 1 / c + 1 / d) ** 0.5
    assert (found.high + 1) / (found.low + 1) == pytest.approx(2.718281828 ** (2 * half), rel=1e-6)
    assert uplift(Strata(0, 0, 0, 0, 0, 0, 0)) is None


def _later(time: str, hours: float) -> str:
    return (datetime.fromisoformat(time[:19]) + timedelta(hours=hours)).isoformat()
