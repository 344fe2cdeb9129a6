"""`scripts/dev demo`: trains a model on stream lines and serves its answers on a port, without Docker."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from app.provenance import Ledger, tracking_row
from auto_deployment.common.errors import RunError
from auto_deployment.common.http import is_ready
from auto_deployment.common.lock import locked
from auto_deployment.common.output import keep_output
from auto_deployment.common.process import own_repository
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.ingestion import collector
from auto_deployment.ingestion.collector import CollectionState
from auto_deployment.ingestion.rows import Counts
from auto_deployment.ingestion.sources import SAMPLE, check_readable
from auto_deployment.pipeline.tracking import put_rows
from auto_deployment.reports import version_report
from auto_deployment.sample import train_first
from scripts.demo.check import check
from scripts.demo.nginx import Upstream, find_nginx, prepare
from scripts.demo.processes import Process, Processes
from scripts.demo.settings import ROOT, DemoFolder, Service, console, gunicorn, require_free, services, shipper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.evaluation.model_metadata import ModelMetadata

READY_SECONDS = 30.0
WATCH_SECONDS = 0.2
HIGHEST_PORT = 65535


class StoppedError(Exception):
    """Ctrl-C or TERM ends the demo. `status` is 128 plus the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, 1, 2, 3, 75, 130, 143."""
    keep_output()
    options = _options(arguments)
    progress = Progress(sys.stdout)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        _demo(options, progress)
    except StoppedError as stopped:
        return stopped.status
    except RunError as error:
        sys.stderr.write(f"demo: {error}\n")
        return error.status
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/dev demo", description=__doc__)
    parser.add_argument(
        "--input", metavar="FILE", type=Path, action="append", help="stream lines; again for more (the shipped sample)"
    )
    parser.add_argument("--port", type=int, default=8082, help="NGINX's port (8082)")
    parser.add_argument("--console-port", type=int, help="the console's port (the one after --port)")
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo", help="the folder for all files of the demo (.demo)")
    parser.add_argument("--check", action="store_true", help="test the running services, then stop")
    options = parser.parse_args(arguments)
    if options.console_port is None:
        options.console_port = options.port + 1
    for name, port in (("--port", options.port), ("--console-port", options.console_port)):
        if not 0 < port <= HIGHEST_PORT:
            parser.error(f"{name} {port}: a port lies between 1 and {HIGHEST_PORT}")
    return options


def _stop(number: int, _frame: object) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise StoppedError(number)


def _demo(options: argparse.Namespace, progress: Progress) -> None:
    demo = DemoFolder(options.folder.absolute())
    inputs = [path.absolute() for path in options.input or [SAMPLE]]
    for path in inputs:
        check_readable(path)
    binary = find_nginx()
    with locked(
        demo.folder / "lock",
        f"another demo runs in {demo.folder}",
        advice="stop it (Ctrl-C there), or use --folder and --port",
    ):
        for name, port in (("--port", options.port), ("--console-port", options.console_port)):
            require_free(name, port)
        _empty(demo)
        metadata = train_first(inputs, load_settings(data_dir=demo.data), _git_commit(), progress)
        _write_report(demo, metadata)
        _serve(options, demo, binary, metadata, progress)


def _empty(demo: DemoFolder) -> None:
    for path in demo.folder.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _git_commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        ended = subprocess.run(command, env=own_repository(os.environ), capture_output=True, text=True, timeout=10, check=True)
        return ended.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _serve(options: argparse.Namespace, demo: DemoFolder, binary: str, metadata: ModelMetadata, progress: Progress) -> None:
    progress.heading("serve")
    for folder in (demo.logs, demo.journals, demo.pids):
        folder.mkdir()
    ledger = Ledger(demo.provenance_url)
    ledger.create()
    put_rows(demo.provenance_url, [tracking_row(metadata.model_dump(), demo.data / "model")])
    running = services()
    processes = Processes(_processes(options, demo, binary, running), progress.say)
    try:
        processes.start("shipper", *(service.name for service in running))
        _wait_ready([service.address for service in running], processes)
        # NGINX starts last: without a running service it would eject all services for a while.
        processes.start("console", "nginx")
        _wait_ready([f"127.0.0.1:{options.port}"], processes)
        progress.say(f"two stable services, one canary and NGINX answer on port {options.port}")
        progress.say(f"the console is http://127.0.0.1:{options.console_port}/")
        if options.check:
            check(f"http://127.0.0.1:{options.port}", running, demo, ledger, progress)
            return
        _show_commands(options, demo, running, progress)
        while True:
            processes.restart_dead()
            time.sleep(WATCH_SECONDS)
    finally:
        processes.stop()
        ledger.close()


def _write_report(demo: DemoFolder, metadata: ModelMetadata) -> None:
    """The report of version 0, for the console."""
    collected = CollectionState.load(demo.data / collector.FILE)
    lines = Counts() if collected is None else collected.last
    demo.versions.mkdir(exist_ok=True)
    report = version_report.build(metadata, lines, [], 0, None, None)
    version_report.write(demo.versions / "report_0.json", report)


def _processes(options: argparse.Namespace, demo: DemoFolder, binary: str, running: Sequence[Service]) -> list[Process]:
    """All processes in the order of their start: the shipper first, NGINX last."""
    servers = [Upstream(service.address, service.weight, service.track) for service in running]
    return [
        Process("shipper", *shipper(demo), demo.logs, demo.pids),
        *(Process(each.name, *gunicorn(each, demo), demo.logs, demo.pids) for each in running),
        Process("console", *console(options.console_port, demo), demo.logs, demo.pids),
        Process("nginx", prepare(demo.nginx, options.port, servers, binary), {}, demo.logs, demo.pids),
    ]


def _wait_ready(waiting: list[str], processes: Processes) -> None:
    until = time.monotonic() + READY_SECONDS
    while waiting := [address for address in waiting if not is_ready(f"http://{address}", seconds=2)]:
        processes.fail_on_death()
        if time.monotonic() > until:
            raise RunError(f"not ready within {READY_SECONDS:g} s: {', '.join(waiting)}; see the logs in the demo's folder")
        time.sleep(0.1)


def _show_commands(options: argparse.Namespace, demo: DemoFolder, running: Sequence[Service], progress: Progress) -> None:
    port = options.port
    known = (demo.data / "clean_rating.csv").read_text().split("\n", 2)[1].split(",")[0]
    progress.heading(f"try:  curl -i http://127.0.0.1:{port}/recommend/{known}      a known user")
    progress.heading(f"      curl -i http://127.0.0.1:{port}/recommend/999999999   a new one")
    progress.heading(f"      curl http://127.0.0.1:{port}/readyz")
    progress.heading(f"      curl http://127.0.0.1:{running[0].metrics_port}/metrics")
    progress.heading(f"      tail -f {demo.nginx / 'logs' / 'tries.log'}")
    progress.heading(f"      http://127.0.0.1:{options.console_port}/   the console, in a browser")
    progress.heading("Ctrl-C stops everything.")


if __name__ == "__main__":
    sys.exit(main())
