"""The recipes of stand-ins: folders under `stand_ins/`, named like the last part of the image's repository.

A recipe has a Dockerfile. It may have `on-host.sh` or `in-container.sh`, which fill the Dockerfile's build context `made`. The
recipe for Debian has `rootfs.sh`, which writes a file system.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.images.names import repository_of

STAND_INS = Path(__file__).with_name("stand_ins")
DEBIAN = "debian:trixie-slim"
BASE = "movierec-stand-in/base:trixie"
BENEATH = ("debian", "base")


@dataclass(frozen=True)
class StandInRecipe:
    """The recipe of the stand-in for the image `name`. `digest` changes with each of its files."""

    name: str
    folder: Path
    digest: str

    @property
    def prepares(self) -> bool:
        """Whether a script runs before the build, which takes a while."""
        return any((self.folder / script).exists() for script in ("on-host.sh", "in-container.sh"))


def recipe_for(name: str, stand_ins: Path = STAND_INS) -> StandInRecipe | None:
    """The recipe of an image's stand-in, or None."""
    folder = stand_ins / repository_of(name).rpartition("/")[2]
    return StandInRecipe(name, folder, _digest(folder, *(stand_ins / below for below in BENEATH))) if folder.is_dir() else None


def _digest(*folders: Path) -> str:
    digest = hashlib.sha256()
    for path in (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()):
        digest.update(f"{path.parent.name}/{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
