"""What every benchmark shares: rows of the result, interleaved pairs, the stages of a run, the machine in a line.

The peak of a process and its descendants is measured by `auto_deployment.common.memory.peak_of_tree`.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

PAIRS = 7
STAGE = re.compile(r"^  ([a-z][a-z ]*): (\d+\.\d) s, peak (\d+\.\d\d) GB$", re.MULTILINE)


class Stage(NamedTuple):
    """A stage of a run: how long it took, and its peak of memory in GB of 10^9 bytes."""

    seconds: float
    peak_gb: float


def stages(output: str) -> dict[str, Stage]:
    """The stages that a run printed, by name, in the order in which they ended. Of two with one name the last counts."""
    return {name: Stage(float(seconds), float(peak)) for name, seconds, peak in STAGE.findall(output)}


@dataclass(frozen=True)
class Row:
    """One measure and its baseline. `ratio` is ours / baseline, `spread` the quartiles' distance of the pairs' ratios."""

    bench: str
    measure: str
    ours: float
    baseline: float
    ratio: float
    spread: float
    better: Literal["higher", "lower"]
    goal: float | None
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the ratio keeps to the goal; without a goal it does."""
        if self.goal is None:
            return True
        return self.ratio >= self.goal if self.better == "higher" else self.ratio <= self.goal

    def to_dict(self) -> dict[str, object]:
        """The row of the JSON file."""
        return {**{name: value for name, value in asdict(self).items() if name != "unit"}, "met": self.met}

    def line(self) -> str:
        """The row as a person reads it."""
        goal = "" if self.goal is None else f"  goal {'>=' if self.better == 'higher' else '<='} {self.goal:.4g}: "
        verdict = "" if self.goal is None else ("met" if self.met else "NOT MET")
        return (
            f"{self.bench:10} {self.measure:34} {self.ours:>12,.4g} {self.unit:8} baseline {self.baseline:>12,.4g}"
            f"  ratio {self.ratio:.4g} ± {self.spread:.2g}{goal}{verdict}"
        )


def row(
    bench: str,
    measure: str,
    pairs: Sequence[tuple[float, float]],
    better: Literal["higher", "lower"],
    goal: float | None = None,
    unit: str = "",
) -> Row:
    """The row of pairs (ours, baseline): medians of each and of the pairs' ratios."""
    ratios = [ours / baseline for ours, baseline in pairs]
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    ours, baseline = (statistics.median(side) for side in zip(*pairs, strict=True))
    spread = quartiles[2] - quartiles[0]
    return Row(bench, measure, ours, baseline, statistics.median(ratios), spread, better, goal, unit)


def interleaved(ours: Callable[[], T], baseline: Callable[[], T], pairs: int = PAIRS) -> list[tuple[T, T]]:
    """Both by turns, so that what else the machine does meets them alike; each pair in the other order than the last."""
    found = []
    for at in range(pairs):
        first, second = (ours, baseline) if at % 2 else (baseline, ours)
        values = first(), second()
        found.append(values if at % 2 else (values[1], values[0]))
    return found


def processor_seconds(work: Callable[[], object]) -> float:
    """Processor time that `work` takes in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def machine() -> str:
    """The machine, in a line."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown: ?")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) >> 20
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{cpu.split(': ')[1]}, {os.cpu_count()} cores, {memory} GiB, {system}"
