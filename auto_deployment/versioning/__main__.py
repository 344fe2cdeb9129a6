"""`python -m auto_deployment.versioning`: remove the locks that a killed git left, as a server's deploy does first."""

from __future__ import annotations

import sys
from pathlib import Path

from auto_deployment.versioning.repository import VersioningError, remove_stale_locks


def main() -> int:
    """Remove stale locks in the checkout of the working folder. The exit status."""
    try:
        remove_stale_locks(Path.cwd(), Path.cwd() / ".git")
    except VersioningError as error:
        sys.stderr.write(f"{error}\n")
        return VersioningError.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
