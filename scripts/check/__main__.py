"""`scripts/dev check data|model|app [--pull] [--all]`: checks whether the version that git names may be released.

GitLab's jobs run it. It prints a line for each check that passed. A failed check is one line on standard error, with status 3.
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
from scripts.check.checkout import Checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# One call of DVC, with its limit of time, fetches so many files.
PULLED = 50
CHECKS: dict[str, Callable[[Checkout], list[str]]] = {"data": data.check, "model": model.check, "app": image.check}
# The DVC files that each check reads.
NEEDS: dict[str, Callable[[Checkout], list[Path]]] = {
    "data": data.needs,
    "model": lambda checkout: [checkout.model],
    "app": lambda checkout: [checkout.model],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, 1, 2, 3, 130, 143."""
    keep_output()
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        for line in _check(options.what, pull=options.pull, everything=options.all):
            sys.stdout.write(f"check {options.what}: {line}\n")
    except KeyboardInterrupt:
        return 130
    except (RunError, ArtifactError) as error:
        sys.stderr.write(f"check {options.what}: {error}\n")
        return error.status if isinstance(error, RunError) else RefusedError.status
    return 0


def _check(what: str, *, pull: bool, everything: bool) -> list[str]:
    settings = load_settings()
    places = Places(Path.cwd(), settings.data_dir.absolute())
    versions = Versions(places, settings.git_remote, settings.git_branch, settings.dvc_remote)
    checkout = Checkout(places, settings, versions.current(), everything)
    if checkout.number == 0 and what != "app":
        return ["git names no version yet: there is nothing to check"]
    if checkout.number and pull:
        pointers = [Path(f"{path}.dvc") for path in NEEDS[what](checkout)]
        for start in range(0, len(pointers), PULLED):
            versions.pull(*pointers[start : start + PULLED])
    return CHECKS[what](checkout)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/dev check", description=__doc__)
    parser.add_argument("what", choices=list(CHECKS), help="the tables' parts, the artifact, or the image")
    parser.add_argument("--pull", action="store_true", help="fetch what is checked from the DVC remote first")
    parser.add_argument("--all", action="store_true", help="of the data: read the parts of all versions, not only new ones")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
