"""`python -m app.pack DATA TO`: the serving part of the version that `DATA/version.txt` names, for an image.

It stops with what to do if the model's files are missing or belong to another version. An image must never serve another model
than git names.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.model import ArtifactError, load_serving

if TYPE_CHECKING:
    from collections.abc import Sequence


def pack(data: Path, to: Path) -> int:
    """Copy metadata and serving arrays to the new folder `to`; the version's number.

    Raises ArtifactError where `DATA/model` is not whole, or not the version that `DATA/version.txt` names.
    """
    number, model = _named(data / "version.txt"), data / "model"
    if not model.is_dir():
        raise ArtifactError(f"{model} is not there, and git names version {number}: run `dvc pull` and build again")
    found = load_serving(model).version
    if found != number:
        raise ArtifactError(f"{model} holds version {found}, and git names {number}: run `dvc pull` and build again")
    to.mkdir(parents=True)
    shutil.copyfile(model / "metadata.json", to / "metadata.json")
    shutil.copytree(model / "serving", to / "serving", copy_function=shutil.copyfile)
    return number


def _named(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: {error}: it should hold the version's number") from error
    if not text.isdigit():
        raise ArtifactError(f"{path}: {text[:40]!r} is no version's number")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    """The command; 0 done, 1 where there is nothing that could be served, 2 wrong use."""
    if len(arguments) != 2:
        sys.stderr.write("use: python -m app.pack DATA TO\n")
        return 2
    try:
        number = pack(Path(arguments[0]), Path(arguments[1]))
    except (ArtifactError, OSError) as error:
        sys.stderr.write(f"pack: {error}\n")
        return 1
    sys.stdout.write(f"version {number} is packed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
