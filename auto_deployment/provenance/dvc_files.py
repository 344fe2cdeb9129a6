"""Gets DVC's files of one commit in one process: `dvc get` takes one file, and its start takes longer than most files.

No lock is taken, and DVC's cache stays as it is: a retraining may work in the checkout meanwhile.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def command(root: Path, revision: str, remote: str, folder: Path, files: Sequence[Path]) -> list[str]:
    """The command that gets `files` of the checkout `root`, as of a git revision, into an existing folder by their names."""
    names = [str(path.relative_to(root)) for path in files]
    # Safe path (-P): the modules of this folder must not hide those of other packages.
    return [sys.executable, "-P", __file__, str(root), revision, remote, str(folder), *names]


def main(root: str, revision: str, remote: str, folder: str, *names: str) -> None:
    """Get the files. Exits with DVC's error as one line."""
    from dvc.api import DVCFileSystem  # noqa: PLC0415 - this import takes a second, and `command` does not need it
    from dvc.exceptions import DvcException  # noqa: PLC0415 - the same

    try:
        files = DVCFileSystem(root, rev=revision, remote=remote)
        files.get(list(names), [str(Path(folder) / Path(name).name) for name in names])
    except (DvcException, OSError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
