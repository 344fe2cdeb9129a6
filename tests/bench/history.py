"""`bench history`: the retraining of installations that are 10, 100 and 365 days old at our rates, within `MEMORY_GB`.

`python -m tests.bench.history DAYS...` measures other ages. An installation lies in the folder of `TMPDIR` and is removed
at the end; it prints the needed disk first, and a folder without it is refused. The baselines are the promised limits; of
a further day it is the cost that software 1.0 had (measured on one day, worked out for more).

`--keep FOLDER` makes installations there, and uses those that are there. `--parts` measures only the parsing of a new part,
each time with a cold cache, which takes root.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread, Timer
from typing import TYPE_CHECKING, NamedTuple

from app.model import read_metadata
from auto_deployment.common.database import database_memory
from auto_deployment.common.memory import GB, peak_of_tree
from auto_deployment.versioning.repository import WATCHES
from tests.bench.installation import Installation, Size, bytes_of, make_pair_table, new_parts
from tests.bench.measure import Row, Stage, interleaved, row, stages

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
PARTS_PAIRS = 3
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


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


def run(days: Sequence[float] = DAYS, keep: Path | None = None) -> Iterator[Row]:
    """The rows of each age, and what a further day costs from one age to the next. Installations stay in the folder `keep`."""
    reports: list[Report] = []
    for size in map(Size, days):
        reports.append(measured(size, keep))
        yield from rows(reports[-1])
        if len(reports) > 1:
            yield from slope(*reports[-2:])
            yield parsing(reports[0], reports[-1])


def parts_rows(days: Sequence[float], keep: Path | None = None) -> Iterator[Row]:
    """What a new part costs at each age, compared with the first, by turns and each time with a cold cache."""
    with _folder(keep) as folder:
        first, *others = (made(folder, Size(each)) for each in days)
        for each in others:
            pairs = interleaved(partial(cold_parts, each), partial(cold_parts, first), PARTS_PAIRS)
            yield parsing_row(each.size, first.size, pairs, "a cold new part")


def cold_parts(installation: Installation) -> float:
    """The seconds of the stage `parts` in a process of its own, with nothing in the page cache. Raises PermissionError."""
    drop_caches()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        seconds = pool.submit(new_parts, installation.places, database_memory(MEMORY_GB)).result()
    _say(f"{installation.size.days:g} days: a new part in {seconds:.1f} s")
    return seconds


def drop_caches() -> None:
    """Empty the page cache, as two days between retrainings do. Raises PermissionError where only root may."""
    os.sync()
    DROP_CACHES.write_text("3")


def measured(size: Size, keep: Path | None = None) -> Report:
    """Make an installation, retrain it, and remove it unless it is kept. Exits with a message where the run fails."""
    with _folder(keep) as folder:
        installation = made(folder, size)
        with peak_of_disk(folder / f"{size.days:g}") as disk:
            pairs = {} if installation.has_pair_table() else {"pair table made again": pair_table(installation)}
            if os.access(DROP_CACHES, os.W_OK):
                drop_caches()
            report = retrained(installation)
        return report._replace(stages={**pairs, **report.stages}, disk_gb=max(disk) / GB)


def made(folder: Path, size: Size) -> Installation:
    """An installation in a folder of folders by age; one that is there is used. Exits where the disk is too small."""
    own, free = folder / f"{size.days:g}", shutil.disk_usage(folder).free / GB
    if own.exists():
        return Installation(own, size)
    _say(f"{size.days:g} days: {size.needed_gb:.0f} GB of disk are needed in {folder}, {free:.0f} GB are free")
    if free < size.needed_gb:
        raise SystemExit(f"history: {folder}: too little disk for {size.days:g} days: choose another folder with TMPDIR")
    begun = time.monotonic()
    own.mkdir()
    installation = Installation(own, size)
    installation.make(_say)
    _say(f"made in {time.monotonic() - begun:.0f} s")
    return installation


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
    pair = report.stages["parts"].seconds, first.stages["parts"].seconds
    return parsing_row(report.size, first.size, [pair], "a new part")


def parsing_row(size: Size, first: Size, pairs: Sequence[tuple[float, float]], what: str) -> Row:
    """The row of a new part's seconds at one age and at the first."""
    measure = f"{size.days:g} days: {what}, as at {first.days:g}"
    return row("history", measure, pairs, "lower", MOST_PARSING_GROWTH, "s")


def main() -> int:
    """The command; 1 where a goal is not met."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.history", description=__doc__)
    parser.add_argument("days", nargs="+", type=float, metavar="DAYS", help="how old the installation is")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a folder of installations that stay")
    parser.add_argument("--parts", action="store_true", help="only the parsing of a new part, compared with the first DAYS")
    given, found = parser.parse_args(), []
    for each in (parts_rows if given.parts else run)(given.days, given.keep):
        found.append(each)
        sys.stdout.write(f"{each.line()}\n")
        sys.stdout.flush()
    return 0 if all(each.met for each in found) else 1


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """The folder for installations: the one that keeps them, or one that is removed."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="history-") as name:
        yield Path(name)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
