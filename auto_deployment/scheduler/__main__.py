"""`python -m auto_deployment.scheduler`: the daemon that runs the pipeline every RETRAIN_DAYS, and collects in between."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import time
from typing import TYPE_CHECKING

from auto_deployment import notify
from auto_deployment.common import logs
from auto_deployment.common.errors import RunError
from auto_deployment.common.lock import holder, is_held, locked
from auto_deployment.common.output import keep_output
from auto_deployment.common.settings import load_settings
from auto_deployment.pipeline.metrics import write_next_runs
from auto_deployment.scheduler.daemon import Daemon
from auto_deployment.scheduler.plan import COLLECT, NOT_RUN, RETRAIN, Every
from auto_deployment.scheduler.process import Adopted, Child
from auto_deployment.scheduler.signals import Signals
from auto_deployment.scheduler.state_file import STATE, Memory
from auto_deployment.scheduler.status import status_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from auto_deployment.common.settings import Settings

log = logging.getLogger(__package__)

# In the data folder: the only scheduler, and its run.
LOCK, RUN_LOCK = "scheduler.lock", ".scheduler.run.lock"
# `--status` holds the lock for a moment.
STATUS_SECONDS = 1.0
RUN = "auto_deployment.auto_deploy"
ARGUMENTS: dict[str, tuple[str, ...]] = {RETRAIN: (), COLLECT: ("--collect-only",)}


def command_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The command of a run. Under `scripts/run`, each run takes the code and packages that the checkout has when it begins."""
    launcher = environment.get("MOVIEREC_RUN")
    if launcher is None:
        return sys.executable, "-m", RUN
    return "env", f"MOVIEREC_NOT_RUN_STATUS={NOT_RUN}", launcher, RUN


def show(folder: Path) -> str:
    """The text of `--status`. Never raises for a file that is corrupt: it says so."""
    try:
        runs, due = Memory(folder / STATE).read()
    except ValueError as error:
        return f"{folder / STATE} is corrupt ({error}): the scheduler sets it aside when it starts, and begins anew\n"
    by = (holder(folder / LOCK) or "its name is not written yet") if is_held(folder / LOCK) else None
    return status_text(runs, due, by, time.time())


def serve(settings: Settings, command: Sequence[str]) -> int:
    """Be the scheduler until a signal comes; the exit status. Raises LockedError, WrongUseError, OSError."""
    folder = settings.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    lock = locked(
        folder / LOCK,
        "another scheduler runs already",
        advice="stop that one first, or leave it to its work",
        name=f"pid {os.getpid()} on {socket.gethostname()}",
        wait_seconds=STATUS_SECONDS,
    )
    with lock, Signals() as signals:
        logs.configure(settings.log_dir, "scheduler", secrets=logs.secrets_of(settings))
        channels = notify.open_channels(settings)
        daemon = Daemon(
            memory=Memory(folder / STATE),
            every=Every(settings.retrain_days * 86400, settings.collect_every_hours * 3600, settings.run_max_hours * 3600),
            launch=lambda job: Child([*command, *ARGUMENTS[job]], folder / RUN_LOCK),
            send_notice=lambda notice: notify.deliver(notice, channels),
            signals=signals,
            publish_due=lambda due: write_next_runs(settings.log_dir, due),
        )
        return daemon.serve(lambda pid: Adopted(pid, folder / RUN_LOCK) if is_held(folder / RUN_LOCK) else None)


def main(arguments: Sequence[str] | None = None, command: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    keep_output()
    parser = argparse.ArgumentParser(prog="python -m auto_deployment.scheduler", description=__doc__.partition("\n")[0])
    parser.add_argument("--status", action="store_true", help="print the last and the next run of each job")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings()
        if options.status:
            sys.stdout.write(show(settings.data_dir))
            return 0
        return serve(settings, command or command_of(os.environ))
    except RunError as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    except OSError as error:
        sys.stderr.write(f"{error}: DATA_DIR must be a folder that the scheduler can write\n")
        return 1
    except Exception:
        log.exception("the scheduler failed; its state is kept: start it again")
        return 1


if __name__ == "__main__":
    sys.exit(main())
