"""`scripts/dev tour [--check]`: what happens in a week, in minutes: stream, retraining, release, abort, explanation."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.common.lock import locked
from auto_deployment.common.output import keep_output
from scripts.demo.command_line import add_ports, ignore_signals, parse, raise_on_signals, require_free_ports, run_to_status
from scripts.demo.settings import ROOT, DemoFolder
from scripts.lib.images.docker import DockerError, docker
from scripts.tour.container_tour import ContainerTour
from scripts.tour.family import adopt_orphans
from scripts.tour.narrator import Narrator, shown
from scripts.tour.process_tour import ProcessTour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.tour.tour import Tour

ENGINE_SECONDS = 20.0
WATCH_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, 1, 2, 75, or 128 plus a signal's number."""
    keep_output()
    options = _options(arguments)
    raise_on_signals()
    adopt_orphans()
    return run_to_status("tour", lambda: _tour(options))


def _tour(options: argparse.Namespace) -> None:
    folder = options.folder.absolute()
    kind = ContainerTour if _has_engine() else ProcessTour
    narrator = Narrator(sys.stdout, kind.steps)
    advice = "stop it (Ctrl-C there), or use --folder and --port"
    with locked(folder / "lock", f"another tour runs in {folder}", advice=advice):
        tour = kind(folder, options.port, options.console_port, narrator)
        left_out = tour.require()
        require_free_ports(options)
        _empty(folder)
        _introduce(narrator, folder, left_out)
        began = time.monotonic()
        try:
            tour.run()
            _show_figures(tour, narrator, time.monotonic() - began)
            if not options.check:
                _stay(tour, narrator)
        except RunError:
            narrator.heading("This failed. The reason is at the end.")
            raise
        finally:
            ignore_signals()
            narrator.heading("Stopping everything ...")
            tour.close()
            narrator.explain(f"Nothing runs any more. The files stay in {shown(folder)}.")


def _empty(folder: Path) -> None:
    try:
        DemoFolder(folder).empty()
    except OSError as error:
        raise RunError(f"cannot empty {shown(folder)}: {error}; remove it, or use another --folder") from error


def _has_engine() -> bool:
    try:
        docker("version", timeout=ENGINE_SECONDS)
    except DockerError:
        return False
    return True


def _introduce(narrator: Narrator, folder: Path, left_out: Sequence[str]) -> None:
    narrator.heading("movierec: what happens in a week, in minutes")
    narrator.explain(f"All files are in {shown(folder)}. Ctrl-C ends the tour at any time and leaves nothing running.")
    if left_out:
        narrator.explain("No Docker engine answers, so these steps are left out (scripts/dev engine starts one):")
        for line in left_out:
            narrator.say(f"- {line}")


def _show_figures(tour: Tour, narrator: Narrator, seconds: float) -> None:
    requests, failed = sum(each.requests for each in tour.visits), sum(each.failed for each in tour.visits)
    narrator.heading(f"All {tour.steps} steps are done.")
    narrator.table(
        [
            *((f"{each.number:>2} {each.title}", f"{each.seconds:5.0f} s") for each in narrator.times),
            ("   the whole tour", f"{seconds:5.0f} s"),
            ("   requests of the visits", f"{requests:,}, {failed} failed"),
        ]
    )


def _stay(tour: Tour, narrator: Narrator) -> None:
    narrator.heading("Everything stays up for you to explore. Ctrl-C ends it.")
    narrator.table(tour.addresses())
    while True:
        tour.watch()
        time.sleep(WATCH_SECONDS)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/dev tour", description=__doc__)
    parser.add_argument("--check", action="store_true", help="end when all steps are done; status 1 if one fails")
    add_ports(parser)
    parser.add_argument("--folder", type=Path, default=ROOT / ".tour", help="the folder for all files of the tour (.tour)")
    return parse(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
