"""The names and checksums of parts: in the `.dvc` files of the working copy, or of a git revision."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.common.process import CommandError
from auto_deployment.versioning.repository import VersioningError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from auto_deployment.common.process import Commands

# A `.dvc` file begins with the md5 of its file and the size in bytes.
CONTENT = re.compile(r"^- md5: ([0-9a-f]{32})\n  size: (\d+)$", re.MULTILINE)
# A line of `git grep`.
FOUND = re.compile(r"([^/:]+)\.dvc:.*md5: ([0-9a-f]{32})$")


class Pointer(NamedTuple):
    """What a `.dvc` file says of its file. `size` is in bytes."""

    md5: str
    size: int


def here(folder: Path, table: str) -> dict[str, Pointer]:
    """The parts of a table that the working copy names, by file name. Raises VersioningError for a damaged `.dvc` file."""
    found = {}
    for path in sorted(folder.glob(f"{table}_*.dvc")):
        match = CONTENT.search(path.read_text(encoding="utf-8", errors="replace"))
        if match is None:
            raise VersioningError(f"{path} has no md5 and size: git checkout -- {path}")
        found[path.stem] = Pointer(match[1], int(match[2]))
    return found


def in_revision(commands: Commands, revision: str, folder: Path, table: str) -> dict[str, str]:
    """The parts of a table that a git revision names, with their md5; none where git does not know the revision.

    `folder` is relative to the checkout, where `commands` runs.
    """
    try:
        lines = commands.run("git", "grep", "-e", "md5: ", revision, "--", f"{folder}/{table}_*.dvc").splitlines()
    except CommandError:
        return {}
    return {match[1]: match[2] for line in lines if (match := FOUND.search(line))}


def version_of(part: str) -> int:
    """The version in a part's name, such as `clean_watch_7.parquet`."""
    return int(part.partition(".")[0].rpartition("_")[2])


def md5_of_list(parts: Mapping[str, str]) -> str:
    """The md5 of the lines `MD5  NAME` of parts, in the order of their versions. `parts` has the md5 by name."""
    listed = "".join(f"{parts[name]}  {name}\n" for name in sorted(parts, key=version_of))
    return hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()
