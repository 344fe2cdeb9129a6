"""`python -m tests.integration.gitlab.receive BASE`: the post-receive hook; each branch that was pushed gets its pipeline."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.integration.gitlab.gitlab import run_pipeline


def main() -> None:
    """Lines of git: old commit, new commit, reference."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]
    for line in sys.stdin:
        _, commit, reference = line.split()
        if reference.startswith("refs/heads/"):
            run_pipeline(Path(sys.argv[1]), reference.removeprefix("refs/heads/"), commit)


if __name__ == "__main__":
    main()
