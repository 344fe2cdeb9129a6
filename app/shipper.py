"""`python -m app.shipper`: moves journalled answers to the database, each `answer_id` exactly once.

If the database is away, the shipper waits as long as needed and then catches up. It removes a journal once the writer has ended
and the database has all rows. It keeps lines that no worker can have written in a file next to the journal, and logs them.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from app.journal import SUFFIX, Row, ServedList, file_size, from_line, list_from_line
from app.provenance import DatabaseError, Ledger, SecretError
from app.settings import ShipperSettings, settings_problem
from app.shipper_metrics import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 10.0
BYTES_A_ROW = 256
BROKEN_BYTES = 1 << 20
STALE_SECONDS = 60.0
UPKEEP_SECONDS, UPKEEP_RETRY_SECONDS = 3600.0, 60.0
LAST_READ_SECONDS = 5.0
LAST_PAUSE_SECONDS = 1.0


class Batch(NamedTuple):
    """Whole lines of a journal: their answers and served lists, the other lines, and the size of all lines in bytes."""

    rows: list[Row]
    lists: list[ServedList]
    broken: list[bytes]
    size: int


def cut(content: bytes) -> Batch:
    """The whole lines at the start of `content`. A last line without its end is left for later."""
    whole = content[: content.rfind(b"\n") + 1]
    rows, lists, broken = [], [], []
    for line in whole.splitlines(keepends=True):
        try:
            if (served := list_from_line(line)) is not None:
                lists.append(served)
            else:
                rows.append(from_line(line))
        except ValueError:
            broken.append(line)
    return Batch(rows, lists, broken, len(whole))


class Shipper:
    """Moves the journals in `folder/*/` to the ledger. `rows`: moved since the start. `reached`: the last attempt succeeded."""

    def __init__(self, folder: Path, ledger: Ledger, batch_rows: int) -> None:
        self._folder = folder
        self._ledger = ledger
        self._batch_bytes = batch_rows * BYTES_A_ROW
        self._taken: dict[str, int] | None = None
        self._upkeep_at = 0.0
        self.rows = 0
        self.reached = False

    def ship(self, may_continue: Callable[[], bool] = lambda: True) -> int:
        """Move all rows that are in the journals now. Returns their number. Stops after a batch once `may_continue` is false.

        Raises `DatabaseError` if the database is away.
        """
        if self._taken is None:
            self._taken = self._read_marks()
        before = self.rows
        for path in sorted(self._folder.glob(f"*/*{SUFFIX}")):
            if not self._ship_journal(path, self._taken, may_continue):
                break
        self._clear_stale()
        return self.rows - before

    def waiting(self) -> dict[str, int]:
        """The bytes of each service's journals that the database does not have yet. Another thread may call this."""
        taken = self._taken or {}
        return {
            folder.name: sum(
                max(0, file_size(path) - taken.get(f"{folder.name}/{path.name}", 0)) for path in folder.glob(f"*{SUFFIX}")
            )
            for folder in sorted(self._folder.glob("*/"))
        }

    def upkeep(self) -> None:
        """Have the database add and drop its partitions, at the start and then hourly. Raises DatabaseError."""
        if time.monotonic() >= self._upkeep_at:
            self._upkeep_at = time.monotonic() + UPKEEP_RETRY_SECONDS
            self._ledger.upkeep()
            self._upkeep_at = time.monotonic() + UPKEEP_SECONDS

    def _clear_stale(self) -> None:
        """Remove the empty files of writers that were killed before they could rename the file."""
        for path in self._folder.glob("*/*.new"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()

    def _read_marks(self) -> dict[str, int]:
        """How many bytes of each journal the ledger has. Marks of removed journals are deleted."""
        self._ledger.create()
        taken = self._ledger.taken()
        for name in [name for name in taken if not (self._folder / name).exists()]:
            self._ledger.forget_journal(name)
            del taken[name]
        return taken

    def _ship_journal(self, path: Path, taken: dict[str, int], may_continue: Callable[[], bool]) -> bool:
        """Move the rows of a journal. Returns whether `ship` may continue."""
        name = str(path.relative_to(self._folder))
        with path.open("rb") as file:
            # Checked before reading: a writer that adds a line later still holds the lock.
            writer_ended = _lock_is_free(file.fileno())
            while True:
                at = taken.get(name, 0)
                file.seek(at)
                # Read to the end of the line: otherwise damage as long as a batch would hide all lines after it.
                content = file.read(self._batch_bytes) + file.readline()
                batch = cut(content)
                if not batch.size:
                    break
                self._ledger.add_answers(name, batch.rows, at + batch.size, batch.lists)
                taken[name] = at + batch.size
                self.rows += len(batch.rows)
                self.reached = True
                # Only after the database has the batch: an outage would store the same lines again at every attempt.
                self._keep_broken(path, batch.broken)
                if not may_continue():
                    return False
        if writer_ended:
            self._keep_broken(path, [content] if content else [])
            path.unlink()
            self._ledger.forget_journal(name)
            taken.pop(name, None)
        return True

    def _keep_broken(self, path: Path, lines: list[bytes]) -> None:
        """Keep lines that are no answers, up to a bound for each service: they use the journals' space."""
        if not lines:
            return
        kept = path.with_suffix(".broken")
        size = sum(each.stat().st_size for each in path.parent.glob("*.broken"))
        if size + sum(map(len, lines)) > BROKEN_BYTES:
            log.error("%s: %d lines are no answers; dropped: %s holds %d bytes of them", path, len(lines), path.parent, size)
            return
        with kept.open("ab") as file:
            file.writelines(lines)
        log.error("%s: %d lines are no answers; kept in %s", path, len(lines), kept)


def _lock_is_free(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def run(shipper: Shipper, pause: float, stop: threading.Event, heartbeat: Path | None = None, end_seconds: float = 0.0) -> None:
    """Ship until `stop` is set, then once more for a short time. While the database is away, the pauses grow.

    After `stop`, an attempt that fails is repeated for `end_seconds`, where the journals do not outlive the shipper.
    """

    def may_continue() -> bool:
        if heartbeat is not None:
            heartbeat.touch()
        return not stop.is_set()

    wait = pause
    while not stop.is_set():
        wait = pause if _ship_or_log(shipper, may_continue) else min(wait * 2, LONGEST_PAUSE_SECONDS)
        if may_continue():
            stop.wait(wait)
    again_until = time.monotonic() + end_seconds
    until = max(again_until, time.monotonic() + LAST_READ_SECONDS)
    while not _ship_or_log(shipper, lambda: time.monotonic() < until) and time.monotonic() < again_until:
        time.sleep(LAST_PAUSE_SECONDS)


def _ship_or_log(shipper: Shipper, may_continue: Callable[[], bool]) -> bool:
    """Ship once, and log a failure. Returns whether the journals were shipped."""
    try:
        shipper.ship(may_continue)
        shipper.reached = True
    except (DatabaseError, OSError) as error:
        shipper.reached = False
        log.warning("cannot ship now, the journals keep the rows: %s", str(error).splitlines()[0])
        return False
    try:
        shipper.upkeep()
    except DatabaseError as error:
        log.warning("the database cannot add or drop its partitions, but it still takes rows: %s", str(error).splitlines()[0])
    return True


def main(arguments: Sequence[str] = ()) -> int:
    """Run the command. Returns 0 after TERM or Ctrl-C, 2 for unusable settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = ShipperSettings()
        if arguments:
            sys.stderr.write("use: python -m app.shipper, with settings from the environment\n")
            return 2
        ledger = Ledger(settings.database_url())
    except ValidationError as error:
        sys.stderr.write(f"{settings_problem(error)}\n")
        return 2
    except SecretError as error:
        sys.stderr.write(f"MYSQL_PASSWORD_FILE: {error}\n")
        return 2
    try:
        _serve(Shipper(settings.journal_dir, ledger, settings.ship_batch), settings)
    finally:
        ledger.close()
    return 0


def _serve(shipper: Shipper, settings: ShipperSettings) -> None:
    if settings.shipper_metrics_bind is not None:
        try:
            serve(shipper, settings.shipper_metrics_bind)
        except OSError as error:
            sys.stderr.write(f"SHIPPER_METRICS_BIND: {settings.shipper_metrics_bind}: {error.strerror}\n")
            raise SystemExit(1) from error
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(shipper, settings.ship_seconds, stop, settings.heartbeat_file, settings.ship_end_seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
