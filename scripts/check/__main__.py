"""`scripts/dev check data|model|app [--pull]`: whether the version that git names may go out. GitLab's jobs run it; so can you.

It prints a line for each thing that it found right. What is wrong is one line on standard error, with status 3.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.model import ArtifactError
from auto_deployment.common.errors import RefusedError, RunError
from auto_deployment.common.output import keep_output
from auto_deployment.common.settings import load_settings
from auto_deployment.versioning.repository import Places, Versions
from scripts.check import data, image, model
from scripts.check.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHECKS: dict[str, Callable[[Place], list[str]]] = {"data": data.check, "model": model.check, "app": image.check}
# What of DVC's each of them looks at.
NEEDS: dict[str, Callable[[Place], list[Path]]] = {
    "data": lambda place: [*place.parts(), place.model],
    "model": lambda place: [place.model],
    "app": lambda place: [place.model],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, 1, 2, 3, 130, 143."""
    keep_output()
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        for line in _check(options.what, pull=options.pull):
            sys.stdout.write(f"check {options.what}: {line}\n")
    except KeyboardInterrupt:
        return 130
    except (RunError, ArtifactError) as error:
        sys.stderr.write(f"check {options.what}: {error}\n")
        return error.status if isinstance(error, RunError) else RefusedError.status
    return 0


def _check(what: str, *, pull: bool) -> list[str]:
    settings = load_settings()
    places = Places(Path.cwd(), settings.data_dir.absolute())
    versions = Versions(places, settings.git_remote, settings.git_branch, settings.dvc_remote)
    place = Place(places, settings, versions.current())
    if place.number == 0 and what != "app":
        return ["git names no version yet: there is nothing to check"]
    if place.number and pull:
        versions.pull(*(Path(f"{path}.dvc") for path in NEEDS[what](place)))
    return CHECKS[what](place)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/dev check", description=__doc__)
    parser.add_argument("what", choices=list(CHECKS), help="the tables' parts, the artifact, or the image")
    parser.add_argument("--pull", action="store_true", help="fetch what is checked from the DVC remote first")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
