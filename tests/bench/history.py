"""`bench history`: the retraining of installations that are 10, 100 and 365 days old at our rates, within `MEMORY_GB`.

`python -m tests.bench.history DAYS...` measures other ages. An installation lies in the folder of `TMPDIR` and is removed
at the end; the disk that it needs is told first, and a folder without it is refused. The baselines are the promised limits; of
a further day it is the cost that software 1.0 had (measured on one day, worked out for more).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.common.memory import GB, peak_of_tree
from tests.bench.installation import Installation, Size, bytes_of
from tests.bench.measure import Row, Stage, row, stages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DAYS = (10.0, 100.0, 365.0)
MEMORY_GB = 8
MOST_SECONDS = 3600.0
MOST_READ_SECONDS = 300.0
YEAR = 365
MOST_WATCHES_GB_A_YEAR = 3.0
EARLIER_SECONDS_A_DAY, EARLIER_GB_A_DAY = 360.0, 1.7
LONGEST_SECONDS = 4 * 3600.0
DISK_EVERY_SECONDS = 2.0


class Report(NamedTuple):
    """What a retraining took. `watches_gb` are the parts of watches in the remote, `disk_gb` the most that all files had."""

    size: Size
    seconds: float
    peak_gb: float
    stages: dict[str, Stage]
    watches_gb: float
    disk_gb: float


def run(days: Sequence[float] = DAYS) -> Iterator[Row]:
    """The rows of each age, and what a further day costs from one age to the next."""
    before: Report | None = None
    for size in map(Size, days):
        report = measured(size)
        yield from rows(report)
        if before is not None:
            yield from slope(before, report)
        before = report


def measured(size: Size) -> Report:
    """Make an installation, retrain it, and remove it. Exits with a message where the disk is too small, or the run fails."""
    with tempfile.TemporaryDirectory(prefix="history-") as name:
        folder, free = Path(name), shutil.disk_usage(name).free / GB
        _say(f"{size.days:g} days: {size.needed_gb:.0f} GB of disk are needed in {folder.parent}, {free:.0f} GB are free")
        if free < size.needed_gb:
            raise SystemExit(f"history: {folder.parent}: too little disk for {size.days:g} days: choose a folder with TMPDIR")
        begun = time.monotonic()
        installation = Installation(folder, size)
        installation.make(_say)
        _say(f"made in {time.monotonic() - begun:.0f} s")
        return retrained(installation, folder)


def retrained(installation: Installation, folder: Path, **environment: str) -> Report:
    """One retraining of an installation, measured from outside. Exits with its last lines where it publishes no version."""
    checkout, output, disk, ended = installation.checkout, list[str](), [0], Event()

    def follow_disk() -> None:
        while not ended.wait(DISK_EVERY_SECONDS):
            disk.append(bytes_of(folder))

    process = subprocess.Popen(
        checkout.argv("--input", str(installation.new_lines())),
        cwd=checkout.folder,
        env={**checkout.environment, "TRAINER": "auto", "RANKER": "auto", "MEMORY_GB": str(MEMORY_GB), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    begun, follower = time.monotonic(), Thread(target=follow_disk, daemon=True)
    follower.start()
    with process, peak_of_tree(process.pid) as peak:
        for line in process.stdout or ():
            output.append(line)
            _say(line.rstrip("\n"))
        status = process.wait(LONGEST_SECONDS)
    seconds = time.monotonic() - begun
    ended.set()
    follower.join()
    if status != 0:
        raise SystemExit(f"history: the retraining ended with {status}: {''.join(output[-5:])}")
    return Report(
        installation.size,
        seconds,
        peak.gb,
        stages("".join(output)),
        sum(installation.objects("clean_watch")) / GB,
        max([*disk, bytes_of(folder)]) / GB,
    )


def rows(report: Report) -> Iterator[Row]:
    """Time, memory, reading and disk with their limits; then each stage as a share of the whole."""
    age = f"{report.size.days:g} days"
    read = report.stages["read"].seconds
    yield row("history", f"{age}: retraining", [(report.seconds, MOST_SECONDS)], "lower", 1.0, "s")
    yield row("history", f"{age}: peak of memory", [(report.peak_gb, MEMORY_GB)], "lower", 1.0, "GB")
    yield row("history", f"{age}: history read", [(read, MOST_READ_SECONDS)], "lower", 1.0, "s")
    most_watches = MOST_WATCHES_GB_A_YEAR * report.size.days / YEAR
    yield row("history", f"{age}: watches in the remote", [(report.watches_gb, most_watches)], "lower", 1.0, "GB")
    yield row("history", f"{age}: disk", [(report.disk_gb, report.size.needed_gb)], "lower", 1.0, "GB")
    for name, stage in report.stages.items():
        measure = f"{age}: {name}, peak {stage.peak_gb:.2f} GB"
        yield row("history", measure, [(stage.seconds, report.seconds)], "lower", None, "s")


def slope(before: Report, after: Report) -> Iterator[Row]:
    """What a further day costs, from one age to the next."""
    days = after.size.days - before.size.days
    ages = f"{before.size.days:g} to {after.size.days:g} days, a day"
    seconds, memory = (after.seconds - before.seconds) / days, (after.peak_gb - before.peak_gb) / days
    disk, expected = (after.disk_gb - before.disk_gb) / days, (after.size.needed_gb - before.size.needed_gb) / days
    yield row("history", f"{ages}: time", [(seconds, EARLIER_SECONDS_A_DAY)], "lower", None, "s")
    yield row("history", f"{ages}: memory", [(memory, EARLIER_GB_A_DAY)], "lower", None, "GB")
    yield row("history", f"{ages}: disk", [(disk, expected)], "lower", None, "GB")


def main() -> int:
    """The command; 1 where a goal is not met."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.history", description=__doc__)
    parser.add_argument("days", nargs="+", type=float, metavar="DAYS", help="how old the installation is")
    found = []
    for each in run(parser.parse_args().days):
        found.append(each)
        sys.stdout.write(f"{each.line()}\n")
        sys.stdout.flush()
    return 0 if all(each.met for each in found) else 1


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
