"""`bench history`: the retraining of installations that are 10, 100 and 365 days old at our rates, within `MEMORY_GB`.

`python -m tests.bench.history DAYS...` measures other ages. An installation lies in the folder of `TMPDIR` and is removed
at the end; it prints the needed disk first, and a folder without it is refused. The baselines are the promised limits; of
a further day it is the cost that software 1.0 had (measured on one day, worked out for more).
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread, Timer
from typing import TYPE_CHECKING, NamedTuple

from app.model import read_metadata
from auto_deployment.common.database import database_memory
from auto_deployment.common.memory import GB, peak_of_tree
from auto_deployment.versioning.repository import WATCHES
from tests.bench.installation import Installation, Size, bytes_of, make_pair_table
from tests.bench.measure import Row, Stage, row, stages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DAYS = (10.0, 100.0, 365.0)
MEMORY_GB = 8
MOST_SECONDS = 3600.0
MOST_READ_SECONDS = 300.0
YEAR = 365
MOST_WATCHES_GB_A_YEAR = 3.0
MOST_PARSING_GROWTH = 1.2
EARLIER_SECONDS_A_DAY, EARLIER_GB_A_DAY = 360.0, 1.7
LONGEST_SECONDS = 4 * 3600.0
DISK_EVERY_SECONDS = 2.0
# The stages that parse the new rows, merge them with the pair table, and read that.
READING = ("parts", "history", "read")


class Report(NamedTuple):
    """What a retraining took.

    `watches_gb` are the parts of watches in the remote, `disk_gb` all files: their peak, or at the end. `films` is the size of
    the catalogue.
    """

    size: Size
    seconds: float
    peak_gb: float
    stages: dict[str, Stage]
    watches_gb: float
    disk_gb: float
    films: int


def run(days: Sequence[float] = DAYS) -> Iterator[Row]:
    """The rows of each age, and what a further day costs from one age to the next."""
    reports: list[Report] = []
    for size in map(Size, days):
        reports.append(measured(size))
        yield from rows(reports[-1])
        if len(reports) > 1:
            yield from slope(*reports[-2:])
            yield parsing(reports[0], reports[-1])


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
        with peak_of_disk(folder) as disk:
            pairs = pair_table(installation)
            report = retrained(installation)
        return report._replace(stages={"pair table made again": pairs, **report.stages}, disk_gb=max(disk) / GB)


def pair_table(installation: Installation) -> Stage:
    """Make the pair table of the last version, which every version before would have left. A run merges it with its rows."""
    begun, memory = time.monotonic(), database_memory(MEMORY_GB)
    work = (installation.places.data, installation.pair_table_source(), memory)
    process = multiprocessing.get_context("spawn").Process(target=make_pair_table, args=work)
    process.start()
    with peak_of_tree(process.pid) as peak:
        process.join()
    if process.exitcode != 0:
        raise SystemExit("history: the pair table could not be made")
    stage = Stage(time.monotonic() - begun, peak.gb)
    _say(f"pair table made in {stage.seconds:.0f} s, peak {stage.peak_gb:.2f} GB")
    return stage


def retrained(installation: Installation, **environment: str) -> Report:
    """One retraining of an installation, measured from outside. Exits with its last lines where it publishes no version."""
    checkout, output = installation.checkout, list[str]()
    with checkout.said.open("wb") as errors:
        process = subprocess.Popen(
            checkout.argv("--input", str(installation.new_lines())),
            cwd=checkout.folder,
            env={**checkout.environment, "TRAINER": "auto", "RANKER": "auto", "MEMORY_GB": str(MEMORY_GB), **environment},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    begun = time.monotonic()
    limit = Timer(LONGEST_SECONDS, process.kill)
    limit.start()
    try:
        with process, peak_of_tree(process.pid) as peak:
            for line in process.stdout or ():
                output.append(line)
                _say(line.rstrip("\n"))
            status = process.wait()
    finally:
        limit.cancel()
    seconds = time.monotonic() - begun
    if status != 0:
        raise SystemExit(f"history: the retraining ended with status {status}: {checkout.said.read_text()[-1000:]}")
    return Report(
        size=installation.size,
        seconds=seconds,
        peak_gb=peak.gb,
        stages=stages("".join(output)),
        watches_gb=installation.bytes_of_parts(WATCHES) / GB,
        disk_gb=bytes_of(checkout.folder.parent) / GB,
        films=int(read_metadata(installation.places.data / "model")["films"]),
    )


@contextmanager
def peak_of_disk(folder: Path) -> Iterator[list[int]]:
    """Bytes of the files in a folder, sampled while the block runs and at its end."""
    sampled, ended = list[int](), Event()

    def follow() -> None:
        while not ended.wait(DISK_EVERY_SECONDS):
            sampled.append(bytes_of(folder))

    thread = Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield sampled
    finally:
        ended.set()
        thread.join()
        sampled.append(bytes_of(folder))


def rows(report: Report) -> Iterator[Row]:
    """Time, memory, reading, disk and catalogue with their limits; then each stage as a share of the whole."""
    age = f"{report.size.days:g} days"
    read = sum(report.stages[name].seconds for name in READING)
    yield row("history", f"{age}: retraining", [(report.seconds, MOST_SECONDS)], "lower", 1.0, "s")
    yield row("history", f"{age}: peak of memory", [(report.peak_gb, MEMORY_GB)], "lower", 1.0, "GB")
    yield row("history", f"{age}: history read", [(read, MOST_READ_SECONDS)], "lower", 1.0, "s")
    most_watches = MOST_WATCHES_GB_A_YEAR * report.size.days / YEAR
    yield row("history", f"{age}: watches in the remote", [(report.watches_gb, most_watches)], "lower", 1.0, "GB")
    yield row("history", f"{age}: disk", [(report.disk_gb, report.size.needed_gb)], "lower", 1.0, "GB")
    yield row("history", f"{age}: films in the catalogue", [(report.films, report.size.films)], "lower", 1.0)
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


def parsing(first: Report, report: Report) -> Row:
    """What a new part costs at one age, compared with the first: it has the rows of two days at every age."""
    ours, baseline = (each.stages["parts"].seconds for each in (report, first))
    measure = f"{report.size.days:g} days: a new part, as at {first.size.days:g}"
    return row("history", measure, [(ours, baseline)], "lower", MOST_PARSING_GROWTH, "s")


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
