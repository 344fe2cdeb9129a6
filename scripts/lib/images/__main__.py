"""`scripts/dev images`: gets every image that the stack names. It pulls the image, or builds a stand-in."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.common.lock import locked
from auto_deployment.common.output import keep_output
from scripts.lib.images.docker import ROOT, docker
from scripts.lib.images.ensure import ensure, plan_images
from scripts.lib.images.names import base_images, compose_images
from scripts.lib.images.plan import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DOCKERFILES = (ROOT / "app" / "Dockerfile",)
LOCK_SECONDS = 900


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, 1, 2, 75, 130, 143."""
    keep_output()
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        get_images(options.names or stack_images(), _report)
    except KeyboardInterrupt:
        return 130
    except RunError as error:
        sys.stderr.write(f"images: {error}\n")
        return error.status
    return 0


def stack_images() -> list[str]:
    """The images in docker-compose.yml and in the Dockerfiles. The base images of our own images come first."""
    config = json.loads(docker("compose", "--profile", "*", "config", "--format", "json"))
    bases = [name for dockerfile in DOCKERFILES for name in base_images(dockerfile.read_text())]
    return list(dict.fromkeys([*bases, *compose_images(config)]))


def get_images(names: Sequence[str], report: Callable[[str], None]) -> None:
    """Pull or build each image that is missing; `report` gets a line for each. Raises RunError."""
    tasks = plan_images(names)
    if all(task.action is Action.NOTHING for task in tasks):
        ensure(tasks, report)
        return
    # One run at a time on this machine, because the machine has one engine.
    lock = Path(tempfile.gettempdir()) / f"movierec-images-{os.getuid()}.lock"
    busy = f"another scripts/dev images has been at work for {LOCK_SECONDS // 60} minutes"
    with locked(lock, busy, advice="stop it and try again", wait_seconds=LOCK_SECONDS):
        ensure(plan_images(names), report)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/dev images", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help="images, instead of all that the stack names")
    return parser.parse_args(arguments)


def _report(line: str) -> None:
    sys.stdout.write(f"images: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
