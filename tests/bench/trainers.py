"""What a training costs by its size, trainer by trainer, each in a process of its own: from what size which one pays.

`python -m tests.bench.trainers TRAINER MILLIONS` is such a process; it prints processor seconds, seconds and MiB as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.blas import one_thread
from auto_deployment.training.trainers import TRAINERS, trainer_of
from tests.bench import fixtures
from tests.bench.measure import Row, row
from tests.integration.spark.packages import ROOT, packages

if TYPE_CHECKING:
    from collections.abc import Iterator

MILLION = 1_000_000
SIZES = (1, 5, 20)
RATINGS_A_USER = 25
SCALE = (1.0, 5.0)
BASELINE = "sgd"
LONGEST_SECONDS = 3600
STARTS = 100


def run() -> list[Row]:
    """Each trainer compared with `sgd` at each size: processor time, and the peak of memory with the ratings."""
    return [each for millions in SIZES for each in _rows(millions, {name: _apart(name, millions) for name in TRAINERS})]


def _rows(millions: int, results: dict[str, dict[str, float]]) -> Iterator[Row]:
    base = results[BASELINE]
    for name, found in results.items():
        size = f"{name}, {millions} million, {found['seconds']:,.0f} s"
        yield row("trainers", size, [(found["processor_s"], base["processor_s"])], "lower", None, "s")
        yield row(
            "trainers", f"{name}, {millions} million: memory", [(found["peak_mib"], base["peak_mib"])], "lower", None, "MiB"
        )


def _apart(name: str, millions: int) -> dict[str, float]:
    path = [str(ROOT), *([str(packages())] if name == "spark" else [])]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.trainers", name, str(millions)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": "ignore", "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=True,
    )
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


@one_thread()
def _measured(name: str, millions: int) -> dict[str, float]:
    """What one training of so many ratings takes, with the processes that it starts."""
    count = millions * MILLION
    users = count // RATINGS_A_USER
    ratings = fixtures.ratings(count, users)
    trainer = trainer_of(name, "local[*]")
    if name == BASELINE:  # compiled once in a process, which is half a second
        trainer.fit(ratings[:STARTS], (users, fixtures.FILMS), SCALE, 0)
    started, started_processor = time.perf_counter(), time.process_time()
    trainer.fit(ratings, (users, fixtures.FILMS), SCALE, 0)
    own, others = os.getpid(), list(_descendants(os.getpid()))
    return {
        "seconds": time.perf_counter() - started,
        "processor_s": time.process_time() - started_processor + sum(map(_processor_seconds, others)),
        "peak_mib": sum(map(_peak_mib, [own, *others])),
    }


def _descendants(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield int(child)
            yield from _descendants(int(child))


def _processor_seconds(pid: int) -> float:
    """Of a process and its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(_measured(sys.argv[1], int(sys.argv[2])))}\n")
