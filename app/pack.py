"""`python -m app.pack DATA TO`: copies what an image needs of the version that `DATA/version.txt` names.

That is the serving part, and the fresh part where there is one.

It fails if the model's files are missing or belong to another version. So an image never serves a model that git does not name.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.model import ArtifactError, load_serving, read_version

if TYPE_CHECKING:
    from collections.abc import Sequence


def pack(data: Path, to: Path) -> int:
    """Copy metadata and serving arrays to the new folder `to`. Returns the version's number.

    Raises ArtifactError if `data/model` is incomplete, or is not the version that `data/version.txt` names.
    """
    number, model = read_version(data), data / "model"
    if not model.is_dir():
        raise ArtifactError(f"{model} is not there, and git names version {number}: run `dvc pull` and build again")
    found = load_serving(model).version
    if found != number:
        raise ArtifactError(f"{model} holds version {found}, and git names {number}: run `dvc pull` and build again")
    to.mkdir(parents=True)
    shutil.copyfile(model / "metadata.json", to / "metadata.json")
    for part in filter(Path.is_dir, (model / "serving", model / "fresh")):
        shutil.copytree(part, to / part.name, copy_function=shutil.copyfile)
    return number


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns 0, 1 if there is no model to serve, 2 for wrong use."""
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
