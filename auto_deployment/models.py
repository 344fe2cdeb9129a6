"""`python -m auto_deployment.models`: which models DVC keeps and why; `--delete` removes those that nobody needs."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.common.lock import locked
from auto_deployment.common.output import keep_output
from auto_deployment.common.settings import load_settings
from auto_deployment.common.signals import Stop, StoppedError
from auto_deployment.pipeline.model_retention import ModelRetention
from auto_deployment.pipeline.restore import LOCK
from auto_deployment.release.state import needed_versions
from auto_deployment.versioning.repository import Places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.common.settings import Settings
    from auto_deployment.pipeline.model_retention import Judged
    from auto_deployment.versioning.models import Model

MB = 1e6


def retention_of(settings: Settings) -> ModelRetention:
    """The retention of this checkout, with the releases of this checkout and of `SERVER_DIR`."""
    root = Path.cwd()
    checkouts = {root, settings.server_dir or root}

    def released() -> set[int]:
        return set[int]().union(*(needed_versions(each, settings.keep_images, time.time()) for each in checkouts))

    return ModelRetention(settings, Places(root, settings.data_dir.absolute()), released)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status, see docs/operations.md."""
    keep_output()
    parser = argparse.ArgumentParser(prog="python -m auto_deployment.models", description="the models that DVC keeps")
    parser.add_argument("--delete", action="store_true", help="remove the models that nobody needs; without it they are listed")
    delete = parser.parse_args(arguments).delete
    try:
        settings = load_settings()
        with locked(settings.data_dir / LOCK, "another run holds the lock"):
            retention, stop = retention_of(settings), Stop()
            judged = retention.judge()
            sys.stdout.write("".join(f"{line}\n" for line in _lines(judged, retention.unfinished())))
            sys.stdout.flush()
            stop.check()
            if delete:
                removed = retention.remove(judged, lambda: not stop.asked())
                sys.stdout.write(f"removed from the DVC remote {settings.dvc_remote} and the cache: {_sum(removed)}\n")
                stop.check()
    except StoppedError as stopped:
        return stopped.status
    except RunError as error:
        sys.stderr.write(f"models: {error}\n")
        return error.status
    except OSError as error:
        sys.stderr.write(f"models: {error.filename or 'the disk'}: {error.strerror or error}\n")
        return 1
    return 0


def _lines(judged: Sequence[Judged], unfinished: int | None) -> list[str]:
    """The listing: each model with its size and why it stays."""
    lines = [f"{'version':>7}  {'MB':>8}  why it stays"]
    for model, reasons, _ in judged:
        lines.append(f"{model.number:>7}  {model.size / MB:>8,.1f}  {'; '.join(reasons) or 'may go'}")
    if unfinished is not None:
        lines.append(f"the removal of version {unfinished} was interrupted: --delete completes it")
    going = [each.model for each in judged if not each.reasons]
    return [*lines, f"may go: {_sum(going)}{'; --delete removes them' if going else ''}"]


def _sum(models: Sequence[Model]) -> str:
    return f"{len(models)} models, {sum(model.size for model in models) / MB:,.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
