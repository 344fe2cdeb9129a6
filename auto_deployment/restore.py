"""`python -m auto_deployment.restore`: build the tables again from the parts of all versions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.common.lock import locked
from auto_deployment.common.output import keep_output
from auto_deployment.common.settings import load_settings
from auto_deployment.pipeline.restore import LOCK, restore
from auto_deployment.pipeline.upgrade import upgrade
from auto_deployment.versioning.repository import Places, Versions

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status, see docs/operations.md."""
    keep_output()
    if arguments or (arguments is None and len(sys.argv) > 1):
        sys.stderr.write("use: python -m auto_deployment.restore\n")
        return 2
    try:
        settings = load_settings()
        places = Places(Path.cwd(), settings.data_dir.absolute())
        with locked(places.data / LOCK, "another run holds the lock"):
            versions = Versions(places, settings.git_remote, settings.git_branch, settings.dvc_remote)
            done = restore(places, versions, anew=True)
            upgrade(places, versions)
    except RunError as error:
        sys.stderr.write(f"restore: {error}\n")
        return error.status
    sys.stdout.write("the tables are those of the last version\n" if done else "there is no version yet: nothing to restore\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
