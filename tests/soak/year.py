"""Versions of a small stream, one after the other, under troubles; and a twin that nothing disturbs, with the same lines."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from datetime import date
from statistics import fmean
from typing import TYPE_CHECKING

from tests.soak.installation import Installation, Run
from tests.soak.stream import Stream, answers_in
from tests.soak.troubles import Troubles, draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SEED = 16
# The versions whose times are compared, and how many of the last ones the twin makes.
EARLY = range(11, 21)
LAST = 10
TWIN_MAKES = 4
TWIN_COLLECTS_EVERY = 10
HEADING = "version  day         seconds  cpu  peak MB     rows  remote MB  git MB  troubles"


@dataclass(frozen=True)
class Made:
    """A version and what its last run took. `rows` are those of both tables, sizes are bytes."""

    troubles: Troubles
    day: date
    run: Run
    rows: int
    dvc_bytes: int
    git_bytes: int

    def line(self) -> str:
        """The version under `HEADING`."""
        return (
            f"{self.troubles.version:7}  {self.day}  {self.run.seconds:7.1f} {self.run.cpu:4.1f} {self.run.peak / 1e6:8.0f}"
            f" {self.rows:8,} {self.dvc_bytes / 1e6:10.1f} {self.git_bytes / 1e6:7.2f}  {self.troubles}"
        )


class Year:
    """The installation `host`, its `twin`, and the stream whose users react to the host's lists. `kills` are those that hit."""

    def __init__(self, base: Path, disk: Path, versions: int, lines: int, minutes_share: float) -> None:
        """`disk` holds both checkouts, and fills once. `base` has the remotes. Raises NoFaketimeError."""
        self._chance = random.Random(SEED)
        self._stream = Stream(SEED, versions, lines, minutes_share)
        self._troubles = draw(versions, self._chance)
        self._base = base
        self.host = Installation(disk / "host", base / "host", TRAINER="sgd")
        self.twin = Twin(Installation(disk / "twin", base / "twin", TRAINER="sgd"), versions)
        self.made: list[Made] = []
        self.kills = 0

    def live(self) -> None:
        """Make all versions, and print a line for each."""
        print(f"\nseed {SEED}\n{HEADING}", flush=True)
        for troubles in self._troubles:
            lines = self._stream.next_version()
            day = _day_of(lines)
            for installation in (self.host, self.twin.installation):
                installation.set_day(day)
            self.host.keep_answers(answers_in(lines, troubles.version - 1) if self.made else [])
            path = self._base / f"movie_{troubles.version}.log"
            run = self._make(troubles, lines, path)
            self._publish_lists()
            self.made.append(self._measured(troubles, day, run))
            print(self.made[-1].line(), flush=True)
            self.twin.follow(troubles.version, path)
        if self.made[-1].troubles.away:  # what still waits for a remote or for the database
            (nothing := self._base / "nothing.log").touch()
            run = self.host.measured("--input", str(nothing))
            assert run.status == 0, run.errors

    def early_and_late(self) -> tuple[float, float]:
        """The mean seconds of processor time of versions 11 to 20 that one run made, and of the last ten."""
        early = [made.run.cpu for made in self.made[EARLY[0] - 1 : EARLY[-1]] if made.troubles.in_one_run]
        late = [made.run.cpu for made in self.made[-LAST:] if made.troubles.in_one_run]
        return fmean(early), fmean(late)

    def _make(self, troubles: Troubles, lines: Sequence[str], path: Path) -> Run:
        """One version from all of these lines, whatever happens; its last run."""
        before = self.made[-1].troubles.remote_away if self.made else False
        arguments = ["--input", str(path), *(["--no-push"] if before and troubles.remote_away else [])]
        with self.host.away(troubles.away):
            if troubles.collected_before:
                _append(path, lines[: len(lines) // 2])
                self.host.measured("--collect-only", "--input", str(path))
            _append(path, lines[len(lines) // 2 if troubles.collected_before else 0 :])
            for _ in range(troubles.kills):
                self.kills += self.host.kill_at(self._chance.uniform(0.3, self._usual_seconds()), *arguments)
            if troubles.full_disk:
                self._fill_disk(arguments)
            return self._finish(troubles, arguments)

    def _finish(self, troubles: Troubles, arguments: Sequence[str]) -> Run:
        """Without a remote the first run fails after its commit; then the operator lets versions wait, with `--no-push`."""
        run = self.host.measured(*arguments)
        if troubles.remote_away and "--no-push" not in arguments:
            assert (run.status, "push: " in run.errors) == (1, True), run.errors
        else:
            assert run.status == 0, run.errors
        assert self.host.data("version.txt").read_text() == f"{troubles.version}\n", run.errors
        return run

    def _fill_disk(self, arguments: Sequence[str]) -> None:
        with self.host.full_disk(self._chance.randrange(4096, 300_000)):
            run = self.host.measured(*arguments)
            assert run.status == 1, run.errors
            assert "No space left" in run.errors or "make room" in run.errors, run.errors

    def _publish_lists(self) -> None:
        """A service has a copy of the model of its own."""
        copy = self._base / "served"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.host.data("model"), copy)
        self._stream.lists.publish(copy)

    def _usual_seconds(self) -> float:
        return self.made[-1].run.seconds if self.made else 5.0

    def _measured(self, troubles: Troubles, day: date, run: Run) -> Made:
        return Made(
            troubles, day, run, rows_of(self.host), bytes_below(self.host.dvc_remote), bytes_below(self.host.folder / ".git")
        )


class Twin:
    """An installation that is never disturbed. It makes a version only of the last rows: `cpu` has their processor seconds."""

    def __init__(self, installation: Installation, versions: int) -> None:
        self.installation = installation
        self._first_made = versions - (TWIN_MAKES if can_compare(versions) else 1) + 1
        self._waiting: list[Path] = []
        self.cpu: list[float] = []

    def late(self) -> float:
        """The seconds of processor time of a version with as many rows as the last ones, but few versions before it.

        The first version that it makes has all rows as new ones, and does not count.
        """
        return fmean(self.cpu[1:])

    def follow(self, version: int, path: Path) -> None:
        """Read the lines of the host's next version now, or with later ones."""
        self._waiting.append(path)
        if version >= self._first_made:
            self.cpu.append(self._read().cpu)
        elif len(self._waiting) >= TWIN_COLLECTS_EVERY:
            self._read("--collect-only")

    def _read(self, *options: str) -> Run:
        run = self.installation.measured(*options, *(f"--input={path}" for path in self._waiting))
        assert run.status == 0, run.errors
        for path in self._waiting:
            path.unlink()
        self._waiting.clear()
        return run


def can_compare(versions: int) -> bool:
    """Whether there are versions 11 to 20, and ten later ones."""
    return versions >= EARLY[-1] + LAST


def rows_of(installation: Installation) -> int:
    """The rows of both tables in the last version."""
    data = json.loads(installation.data("model/metadata.json").read_bytes())["data"]
    return sum(entry["rows"] for name, entry in data.items() if name.startswith("clean_"))


def bytes_below(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _append(path: Path, lines: Sequence[str]) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in lines)


def _day_of(lines: Sequence[str]) -> date:
    """The day of the last request: the stream damages no line of a request."""
    return date.fromisoformat(next(line for line in reversed(lines) if "recommendation request" in line)[:10])
