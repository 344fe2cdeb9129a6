"""The serving image's name and the commands around it, as plain lists: one place for the release and for replay."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from app.model import VERSION_FILE
from auto_deployment.versioning.repository import tag_of

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCKERFILE = "app/Dockerfile"
CODE = Path(__file__).resolve().parents[2]
INSTALLER = "scripts/lib/install-lock.sh"
MODEL_DIR = "/srv/model"


def image_of(repository: str, number: int) -> str:
    """The image of a released version."""
    return f"{repository}:{tag_of(number)}"


def copy_context(data: Path, to: Path) -> None:
    """Copy what a build reads to the new folder `to`: app/ and the installer of the running code, version and model of `data`.

    Raises OSError or shutil.Error when a file cannot be copied, or goes meanwhile.
    """
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CODE / "app", to / "app", ignore=ignored)
    (to / INSTALLER).parent.mkdir(parents=True)
    shutil.copy2(CODE / INSTALLER, to / INSTALLER)
    shutil.copytree(data / "model", to / "data" / "model")
    shutil.copy2(data / VERSION_FILE, to / "data" / VERSION_FILE)


def build(docker: str, image: str, context: Path) -> list[str]:
    """Builds the image from a checkout whose `data/model` is the version's."""
    return [docker, "build", "--quiet", "--tag", image, "--file", str(context / DOCKERFILE), str(context)]


def exists(docker: str, image: str) -> list[str]:
    """Fails where the image is not on this machine."""
    return [docker, "image", "inspect", "--format", "{{.Id}}", image]


def answer(docker: str, image: str, arguments: Sequence[str], model: Path | None, owner: str = "") -> list[str]:
    """Computes one answer in the image, from the model in a folder of the host or else from its own; without a network.

    `arguments` are those of `python -m app.answer`.

    `owner`, as UID:GID, owns that folder: under umask 077 nobody else can read the model.
    """
    mount = [] if model is None else ["--user", owner, "--volume", f"{model}:{MODEL_DIR}:ro"]
    confined = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    bounded = ["--memory", "2g", "--pids-limit", "64"]
    python = ["python", "-m", "app.answer", *arguments]
    return [docker, "run", "--rm", "--pull", "never", *confined, *bounded, *mount, image, *python]


def hold(docker: str, image: str) -> list[str]:
    """Makes a container that never runs; prints its id."""
    return [docker, "create", "--pull", "never", "--network", "none", image]


def copy_model(docker: str, container: str, to: Path) -> list[str]:
    """Copies the model out of a container to a folder that is not there yet."""
    return [docker, "cp", "--quiet", f"{container}:{MODEL_DIR}", str(to)]


def let_go(docker: str, container: str) -> list[str]:
    """Removes a container that was held."""
    return [docker, "rm", "--force", container]
