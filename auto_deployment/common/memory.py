"""Memory in GB of 10^9 bytes: what the machine or its cgroups let us have, and the peak of a process with its descendants."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GB = 10**9
# A run leaves the rest to the system, to its page cache and to others.
SHARE = 0.75
SAMPLE_SECONDS = 0.2
# Until a new process runs a program of its own, it shows its parent's memory.
YOUNG_SECONDS = 0.1
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
V1_LIMITS, V2_LIMITS = ["memory.limit_in_bytes"], ["memory.max", "memory.high"]


def whole_gb(proc: Path = PROC, cgroups: Path = CGROUPS) -> float:
    """The machine's memory, or the smallest limit of this process's cgroups and their parents.

    `proc` and `cgroups` are the roots of the two file systems. Raises KeyError without a readable `meminfo`.
    """
    machine = _values(proc / "meminfo")["MemTotal"]
    return min([machine, *_cgroup_limits(proc, cgroups)]) / GB


def available_gb() -> float:
    """What a run may have of it: three quarters."""
    return SHARE * whole_gb()


def _cgroup_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """The limits in bytes. A container sees its own cgroup as the root, whatever its path says: a missing folder has none."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (cgroups / "memory", V1_LIMITS) if controllers else (cgroups, V2_LIMITS)
        group = root / path.strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                texts = (_text(folder / name).strip() for name in names)
                yield from (int(text) for text in texts if text.isdigit())


class TreePeak:
    """The highest sum of resident memory of a process and its descendants, from sample to sample.

    Where a process's own peak rose since the last sample, that peak counts, so no short rise is missed. Pages that two
    processes share count twice.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peaks: dict[int, int] = {}
        self._bytes = 0

    @property
    def gb(self) -> float:
        """The peak so far, in GB."""
        return self._bytes / GB

    def sample(self) -> None:
        """Look at the processes once. Ended ones count nothing."""
        is_first, total = not self._peaks, 0
        for pid in _tree(self._pid):
            values = _values(PROC / str(pid) / "status")
            resident, peak = values.get("VmRSS", 0), values.get("VmHWM", 0)
            known = self._peaks.get(pid, peak if is_first else 0)
            total += peak if peak > known else resident
            self._peaks[pid] = peak
        self._bytes = max(self._bytes, total)

    def follow(self, ended: Event) -> None:
        """Take samples until the event is set."""
        while not ended.wait(SAMPLE_SECONDS):
            self.sample()


@contextmanager
def peak_of_tree(pid: int | None = None) -> Iterator[TreePeak]:
    """Measure the peak of a process, by default this one, and its descendants while the block runs."""
    peak, ended = TreePeak(os.getpid() if pid is None else pid), Event()
    thread = Thread(target=peak.follow, args=(ended,), name="peak of memory", daemon=True)
    peak.sample()
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        peak.sample()


def _tree(pid: int) -> Iterator[int]:
    """A process and its descendants, without those that were only just begun."""
    yield pid
    for task in _names(PROC / str(pid) / "task"):
        children = _text(PROC / str(pid) / "task" / task / "children").split()
        yield from (each for child in children if not _is_young(child) for each in _tree(int(child)))


def _names(folder: Path) -> list[str]:
    """The names in a folder, none where its process has ended."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _is_young(pid: str) -> bool:
    fields = _text(PROC / pid / "stat").rpartition(")")[2].split()
    begun = int(fields[19]) / os.sysconf("SC_CLK_TCK") if fields else time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - begun < YOUNG_SECONDS


def _values(path: Path) -> dict[str, int]:
    """The values in bytes of a file of /proc whose lines are `Name:  123 kB`."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0].rstrip(":"): 1024 * int(row[1]) for row in rows if row[2:] == ["kB"]}


def _text(path: Path) -> str:
    """A small file, empty where it is missing or its process has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""
