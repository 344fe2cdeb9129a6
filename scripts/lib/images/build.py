"""Builds stand-ins: the base once, then each image."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from scripts.lib.images.docker import ROOT, DockerError, client, docker, run
from scripts.lib.images.machine import describe
from scripts.lib.images.names import repository_of
from scripts.lib.images.plan import PACKAGE, RECIPE, STAND_IN
from scripts.lib.images.recipes import BASE, DEBIAN, STAND_INS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scripts.lib.images.recipes import StandInRecipe

LOGS = ROOT / ".cache" / "images"
BUILD_SECONDS = 900.0
MOST_SHOWN = 160
PASSED_ON = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE")


def commands(docker_path: str, recipe: StandInRecipe, made: str) -> list[list[str]]:
    """The commands that build a stand-in, in order. `made` is an empty folder for the files of its scripts. Pure."""
    labels = (f"{STAND_IN}=true", f"{RECIPE}={recipe.digest}")
    if recipe.name == DEBIAN:
        tar = f"{made}/rootfs.tar"
        changes = [word for label in labels for word in ("--change", f"LABEL {label}")]
        return [[str(recipe.folder / "rootfs.sh"), tar], [docker_path, "import", *changes, tar, DEBIAN]]
    return [*_prepare(docker_path, recipe, made), _build(docker_path, recipe, made, labels)]


def _build(docker_path: str, recipe: StandInRecipe, made: str, labels: Sequence[str]) -> list[str]:
    return [
        *(docker_path, "build", "--progress=plain", "--tag", recipe.name),
        *(word for label in labels for word in ("--label", label)),
        *("--build-context", f"made={made}", str(recipe.folder)),
    ]


def _prepare(docker_path: str, recipe: StandInRecipe, made: str) -> list[list[str]]:
    if (recipe.folder / "on-host.sh").exists():
        return [[str(recipe.folder / "on-host.sh"), made]]
    if (recipe.folder / "in-container.sh").exists():
        passed = [word for name in ("DEBIAN_FRONTEND=noninteractive", *PASSED_ON) for word in ("--env", name)]
        folders = ["--volume", f"{recipe.folder}:/recipe:ro", "--volume", f"{made}:/made"]
        return [[docker_path, "run", "--rm", *passed, *folders, BASE, "sh", "/recipe/in-container.sh"]]
    return []


def build(recipe: StandInRecipe) -> None:
    """Build one stand-in on the base image, or Debian itself from this machine's package source.

    Raises RunError with the last line of the build's output, and with the file that has all of it.
    """
    with tempfile.TemporaryDirectory() as made:
        _run(recipe.name, commands(client(), recipe, made))


def build_base() -> None:
    """Build the base image of all stand-ins from Debian's image and the configuration of this machine."""
    with tempfile.TemporaryDirectory() as machine:
        describe(Path(machine))
        labels_and_name = ("--label", f"{STAND_IN}=true", "--tag", BASE)
        folder = str(STAND_INS / "base")
        _run(BASE, [[client(), "build", *labels_and_name, "--build-context", f"machine={machine}", folder]])


def _run(name: str, work: Iterable[list[str]]) -> None:
    try:
        for command in work:
            run(command, timeout=BUILD_SECONDS)
    except DockerError as error:
        output = str(error)
        log = LOGS / f"{repository_of(name).replace('/', '_')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(output + "\n")
        last = shorten(output.splitlines()[-1], MOST_SHOWN)
        raise RunError(f"{name} could not be built: {last} (all of it: {log})") from error


def image_id(name: str) -> str:
    """The id of an image; empty if there is no such image."""
    return docker("image", "ls", "--no-trunc", "--quiet", name).strip()


def forget(name: str, older: str) -> None:
    """Remove the older image of the same name, unless a container still uses it."""
    if older and older != image_id(name):
        with suppress(DockerError):
            docker("image", "rm", older)


def packaged_version(name: str) -> str:
    """The version of the Debian package in a stand-in; empty if it has none."""
    package = docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{PACKAGE}"}}}}', name).strip()
    query = ["--entrypoint", "dpkg-query", name, "--show", "--showformat", "${Version}", package]
    return docker("run", "--rm", *query) if package else ""
