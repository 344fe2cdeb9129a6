"""`scripts/dev demo`: trains a model on stream lines and serves its answers on a port, without Docker."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from app.provenance import tracking_row
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
from scripts.demo.command_line import add_ports, parse, raise_on_signals, require_free_ports, run_to_status
from scripts.demo.local_services import LocalServices
from scripts.demo.nginx import find_nginx
from scripts.demo.settings import ROOT, DemoFolder, Follow, Service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.evaluation.model_metadata import ModelMetadata

WATCH_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, 1, 2, 3, 75, 130, 143."""
    keep_output()
    options = _options(arguments)
    progress = Progress(sys.stdout)
    raise_on_signals()
    return run_to_status("demo", lambda: _demo(options, progress))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/dev demo", description=__doc__)
    parser.add_argument(
        "--input", metavar="FILE", type=Path, action="append", help="stream lines; again for more (the shipped sample)"
    )
    add_ports(parser)
    parser.add_argument(
        "--follow", metavar="FILE", type=Path, help="lines appended to this file count at once, while the demo runs"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo", help="the folder for all files of the demo (.demo)")
    parser.add_argument("--check", action="store_true", help="test the running services, then stop")
    return parse(parser, arguments)


def _demo(options: argparse.Namespace, progress: Progress) -> None:
    demo = DemoFolder(options.folder.absolute())
    inputs = [path.absolute() for path in options.input or [SAMPLE]]
    for path in inputs:
        check_readable(path)
    find_nginx()  # before the training: without an NGINX there is nothing to serve with
    with locked(
        demo.folder / "lock",
        f"another demo runs in {demo.folder}",
        advice="stop it (Ctrl-C there), or use --folder and --port",
    ):
        require_free_ports(options)
        demo.empty()
        follow = _follow(options.follow)
        settings = load_settings(data_dir=demo.data, **({} if follow is None else {"fresh": True}))
        metadata = train_first(inputs, settings, _git_commit(), progress)
        _write_report(demo, metadata)
        _serve(options, demo, metadata, progress, follow)


def _follow(path: Path | None) -> Follow | None:
    """The file to follow from its present end; it may come later. Raises WrongUseError where it is no file."""
    if path is None:
        return None
    if path.exists():
        check_readable(path)
    return Follow(path.absolute(), path.stat().st_size if path.exists() else 0)


def _git_commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        ended = subprocess.run(command, env=own_repository(os.environ), capture_output=True, text=True, timeout=10, check=True)
        return ended.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _serve(
    options: argparse.Namespace, demo: DemoFolder, metadata: ModelMetadata, progress: Progress, follow: Follow | None
) -> None:
    progress.heading("serve")
    local = LocalServices(demo, options.port, options.console_port, progress.say, follow)
    try:
        local.start()
        put_rows(demo.provenance_url, [tracking_row(metadata.model_dump(), demo.data / "model")])
        progress.say(f"two stable services, one canary and NGINX answer on port {options.port}")
        if follow is not None:
            progress.say(f"lines that are appended to {follow.file} count at once")
        progress.say(f"the console is http://127.0.0.1:{options.console_port}/")
        if options.check:
            check(f"http://127.0.0.1:{options.port}", local.services, demo, local.ledger, progress)
            return
        _show_commands(options, demo, local.services, progress)
        while True:
            local.restart_dead()
            time.sleep(WATCH_SECONDS)
    finally:
        local.stop()


def _write_report(demo: DemoFolder, metadata: ModelMetadata) -> None:
    """The report of version 0, for the console."""
    collected = CollectionState.load(demo.data / collector.FILE)
    lines = Counts() if collected is None else collected.last
    demo.versions.mkdir(exist_ok=True)
    report = version_report.build(metadata, lines, [], 0, None, None)
    version_report.write(demo.versions / "report_0.json", report)


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
