"""`python -m app.shipper`: moves journalled answers to the database, each exactly once by its `answer_id`.

It waits for a database that is away, as long as that takes, and catches up. A journal whose writer is gone is removed once all
of it is in the database. Lines that no worker can have written are kept in a file next to the journal, and reported.
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

from app.journal import SUFFIX, Row, from_line
from app.provenance import DatabaseError, Ledger, SecretError
from app.settings import ShipperSettings, settings_problem
from app.shipper_metrics import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

LONGEST_PAUSE = 10.0
BYTES_A_ROW = 256
BROKEN_BYTES = 1 << 20
STALE_SECONDS = 60.0
UPKEEP_SECONDS, UPKEEP_AGAIN_SECONDS = 3600.0, 60.0
LAST_LOOK_SECONDS = 5.0


class Batch(NamedTuple):
    """Whole lines of a journal: their rows, the lines that are none, and the bytes they take together."""

    rows: list[Row]
    broken: list[bytes]
    size: int


def cut(content: bytes) -> Batch:
    """The whole lines at the start of `content`; a line still being written is left for later."""
    whole = content[: content.rfind(b"\n") + 1]
    rows, broken = [], []
    for line in whole.splitlines(keepends=True):
        try:
            rows.append(from_line(line))
        except ValueError:
            broken.append(line)
    return Batch(rows, broken, len(whole))


class Shipper:
    """Moves what lies in `folder/*/` to the ledger: `rows` since its start; `reached`: the database took what came last."""

    def __init__(self, folder: Path, ledger: Ledger, batch_rows: int) -> None:
        self._folder = folder
        self._ledger = ledger
        self._batch_bytes = batch_rows * BYTES_A_ROW
        self._taken: dict[str, int] | None = None
        self._upkeep_at = 0.0
        self.rows = 0
        self.reached = False

    def ship(self, go_on: Callable[[], bool] = lambda: True) -> int:
        """Move all that is there now, as long as `go_on`, asked after each batch, says so; how many rows that was.

        Raises `DatabaseError` where the database is away.
        """
        if self._taken is None:
            self._taken = self._begin()
        before = self.rows
        for path in sorted(self._folder.glob(f"*/*{SUFFIX}")):
            if not self._ship_journal(path, self._taken, go_on):
                break
        self._clear_stale()
        return self.rows - before

    def waiting(self) -> dict[str, int]:
        """The bytes of each service's journals that are not known to be in the database. Another thread may ask."""
        taken = self._taken or {}
        return {
            folder.name: sum(
                max(0, _size(path) - taken.get(f"{folder.name}/{path.name}", 0)) for path in folder.glob(f"*{SUFFIX}")
            )
            for folder in sorted(self._folder.glob("*/"))
        }

    def upkeep(self) -> None:
        """Have the database look after its days: at first, then hourly. Raises DatabaseError, and tries again in a minute."""
        if time.monotonic() >= self._upkeep_at:
            self._upkeep_at = time.monotonic() + UPKEEP_AGAIN_SECONDS
            self._ledger.upkeep()
            self._upkeep_at = time.monotonic() + UPKEEP_SECONDS

    def _clear_stale(self) -> None:
        """Remove the empty files of writers that were killed before they gave their journal its name."""
        for path in self._folder.glob("*/*.new"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()

    def _begin(self) -> dict[str, int]:
        """What the ledger has of each journal that is still there."""
        self._ledger.create()
        taken = self._ledger.taken()
        for name in [name for name in taken if not (self._folder / name).exists()]:
            self._ledger.forget_journal(name)
            del taken[name]
        return taken

    def _ship_journal(self, path: Path, taken: dict[str, int], go_on: Callable[[], bool]) -> bool:
        """Move what a journal has; whether to go on after it."""
        name = str(path.relative_to(self._folder))
        with path.open("rb") as file:
            # Asked before reading: what a writer adds after that, it adds while it holds the lock.
            writer_gone = _lock_is_free(file.fileno())
            while True:
                at = taken.get(name, 0)
                file.seek(at)
                # On to the end of a line, or damage as long as a batch would hide all that follows it.
                content = file.read(self._batch_bytes) + file.readline()
                batch = cut(content)
                if not batch.size:
                    break
                self._ledger.add_answers(name, batch.rows, at + batch.size)
                taken[name] = at + batch.size
                self.rows += len(batch.rows)
                self.reached = True
                # Once the database has the batch, or an outage would keep the same lines again at every try.
                self._keep_broken(path, batch.broken)
                if not go_on():
                    return False
        if writer_gone:
            self._keep_broken(path, [content] if content else [])
            path.unlink()
            self._ledger.forget_journal(name)
            taken.pop(name, None)
        return True

    def _keep_broken(self, path: Path, lines: list[bytes]) -> None:
        """Keep lines that are no answers, up to a bound for each service: they take the journals' room."""
        if not lines:
            return
        beside = path.with_suffix(".broken")
        held = sum(each.stat().st_size for each in path.parent.glob("*.broken"))
        if held + sum(map(len, lines)) > BROKEN_BYTES:
            log.error("%s: %d lines are no answers; dropped: %s holds %d bytes of them", path, len(lines), path.parent, held)
            return
        with beside.open("ab") as file:
            file.writelines(lines)
        log.error("%s: %d lines are no answers; kept in %s", path, len(lines), beside)


def _size(path: Path) -> int:
    """A file's size; 0 when it has just been removed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _lock_is_free(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def run(shipper: Shipper, pause: float, stop: threading.Event, heartbeat: Path | None = None) -> None:
    """Ship until the stop. While the database is away the waits grow. After the stop one short, last read follows."""

    def go_on() -> bool:
        if heartbeat is not None:
            heartbeat.touch()
        return not stop.is_set()

    wait = pause
    while not stop.is_set():
        wait = pause if _ship_or_say(shipper, go_on) else min(wait * 2, LONGEST_PAUSE)
        if go_on():
            stop.wait(wait)
    until = time.monotonic() + LAST_LOOK_SECONDS
    _ship_or_say(shipper, lambda: time.monotonic() < until)


def _ship_or_say(shipper: Shipper, go_on: Callable[[], bool]) -> bool:
    try:
        shipper.ship(go_on)
        shipper.reached = True
    except (DatabaseError, OSError) as error:
        shipper.reached = False
        log.warning("cannot ship now, the journals keep what there is: %s", str(error).splitlines()[0])
        return False
    try:
        shipper.upkeep()
    except DatabaseError as error:
        log.warning("the days in the database are not looked after, rows arrive all the same: %s", str(error).splitlines()[0])
    return True


def main(arguments: Sequence[str] = ()) -> int:
    """The command; 0 after TERM or Ctrl-C, 2 for settings that cannot be used."""
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
    run(shipper, settings.ship_seconds, stop, settings.heartbeat_file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
