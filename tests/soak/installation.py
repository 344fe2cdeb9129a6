"""A checkout that lives through months: its clock, its troubles, and what each of its runs took."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from app.provenance import Ledger
from tests.integration.checkout import RUN_SECONDS, Checkout
from tests.integration.faketime import environment_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from app.journal import Row

# The default of PROVENANCE_KEEP_DAYS.
ANSWER_DAYS = 90


@dataclass(frozen=True)
class Run:
    """One run of the pipeline. `cpu` are seconds of processor time with all children, `peak` bytes of its largest process."""

    status: int
    errors: str
    seconds: float
    cpu: float
    peak: int


class Installation(Checkout):
    """A host whose database is a SQLite file, and whose clock goes by the stream."""

    def __init__(self, folder: Path, base: Path, **settings: str) -> None:
        """`folder` is the checkout. `base` gets remotes and database. Raises NoFaketimeError."""
        base.mkdir(parents=True)
        super().__init__(folder, base)
        self.database = base / "database" / "provenance.sqlite"
        self.database.parent.mkdir()
        self.dvc_remote.mkdir()
        self._dated: set[Path] = set()
        self._now = 0.0
        self.environment |= {"PROVENANCE_URL": f"sqlite:///{self.database}", **settings}

    def set_day(self, day: date) -> None:
        """Set the clock to a day."""
        today = datetime.now(UTC)
        self._now = (today + (day - today.date())).timestamp()
        self.environment |= environment_at((day - today.date()).days)

    def keep_answers(self, rows: Sequence[Row]) -> None:
        """Add answers to the database, and drop those whose days are over."""
        oldest = datetime.fromtimestamp(self._now, UTC).date() - timedelta(days=ANSWER_DAYS)
        with closing(Ledger(f"sqlite:///{self.database}")) as ledger:
            ledger.create()
            ledger.add_answers("soak", rows, 0)
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute("DELETE FROM reccom WHERE day < ?", [str(oldest)])

    @contextmanager
    def away(self, names: set[str]) -> Iterator[None]:
        """Take `git`, `dvc` or `database` away: a file is in the place of the folder."""
        folders = {"git": self.remote, "dvc": self.dvc_remote, "database": self.database.parent}
        aside = {folders[name]: folders[name].with_suffix(".away") for name in names}
        for folder, kept in aside.items():
            folder.rename(kept)
            folder.write_text("")
        try:
            yield
        finally:
            for folder, kept in aside.items():
                folder.unlink()
                kept.rename(folder)

    @contextmanager
    def full_disk(self, left: int) -> Iterator[None]:
        """Fill the disk of the checkout but for `left` bytes."""
        ballast = self.folder.with_name("ballast")
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.folder).free - left)
        try:
            yield
        finally:
            ballast.unlink()

    def measured(self, *arguments: str) -> Run:
        """One run to its end, and what it took."""
        begun = time.monotonic()
        process = self.start(*arguments)
        limit = threading.Timer(RUN_SECONDS, process.kill)
        limit.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except KeyboardInterrupt:
            process.kill()
            process.wait()
            raise
        finally:
            limit.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        self._date_files()
        return Run(
            status=process.returncode,
            errors=self.said.read_text(),
            seconds=time.monotonic() - begun,
            cpu=usage.ru_utime + usage.ru_stime,
            peak=usage.ru_maxrss * 1024,
        )

    def _date_files(self) -> None:
        """Give the popular lists, whose age counts, the day of this clock: the disk goes by the machine's."""
        for path in self.data("telemetry").glob("popular/*"):
            if path not in self._dated:
                os.utime(path, (self._now, self._now))
                self._dated.add(path)
