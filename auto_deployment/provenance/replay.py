"""An answer computed again: by the released image and the model of its version, or by the code at hand where that is asked."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from auto_deployment.common.errors import RunError
from auto_deployment.common.process import CommandError, Commands
from auto_deployment.provenance.reasons import GROUPS
from auto_deployment.provenance.version_files import is_model
from auto_deployment.release import image_commands
from auto_deployment.versioning.repository import tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.provenance.archive import Traced
    from auto_deployment.provenance.version_files import VersionFiles

CODE = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 1200.0


class ReplayError(RunError):
    """The answer cannot be computed again; the text says what is missing."""


class Computed(NamedTuple):
    """An answer of today. `by` says what computed it, as a person reads it."""

    version: int
    body: str
    step: str
    digest: str
    model_md5: str
    by: str

    def is_same(self, answer: Traced) -> bool:
        """Whether it is the recorded one, to the byte."""
        return (self.version, self.step, self.digest) == (answer.version_number, answer.step, answer.digest)


class Engine:
    """The docker client at `docker`, and the repository of the stack's images."""

    def __init__(self, docker: str, repository: str) -> None:
        self.docker = docker
        self.repository = repository
        self.commands = Commands(CODE)

    def has(self, name: str) -> bool:
        """Whether the image is on this machine."""
        try:
            self.commands.run(*image_commands.exists(self.docker, name))
        except CommandError:
            return False
        return True


def find_engine(repository: str) -> Engine | None:
    """The engine of this machine, where one answers."""
    commands = Commands(CODE)
    try:
        docker = commands.run(str(CODE / "scripts" / "lib" / "docker.sh"), seconds=60)
        commands.run(docker, "version", "--format", "{{.Server.Version}}", seconds=20)
    except CommandError:
        return None
    return Engine(docker, repository)


def compute(answer: Traced, files: VersionFiles, engine: Engine | None) -> Computed:
    """The answer again; without an engine by the code at hand. Raises RunError with what is missing."""
    number = answer.version_number
    if engine is None:
        return _compute_here(answer, files.model(number, answer.model_md5))
    if files.is_released(number):
        model = files.model(number, answer.model_md5)
        name, how = image_commands.image_of(engine.repository, number), "the released image"
        if not engine.has(name):
            _build(engine, files, number, model)
            how = f"the image built again from {tag(number)}"
        return _compute_in(engine, name, answer, model, f"{how}, {name}")
    return _compute_in_stack(engine, answer)


def find_model(answer: Traced, files: VersionFiles, engine: Engine | None) -> Path:
    """The model that answered: see `VersionFiles.model`; of a version that git does not name also out of an image.

    An image has no rating part. Raises RunError if there is none and it cannot be built.
    """
    number, md5 = answer.version_number, answer.model_md5
    try:
        return files.model(number, md5)
    except RunError:
        if engine is None or files.is_released(number):
            raise
        kept = files.cache / str(number) / "of-image"
        for name in images_of(engine, number):
            if not is_model(kept, number, md5) and engine.has(name):
                _copy_model(engine, name, kept)
                files.clear_cache()
            if is_model(kept, number, md5):
                return kept
        raise


def images_of(engine: Engine, number: int) -> tuple[str, ...]:
    """Where a version is that git does not name: kept by the first release after it, or, before that, what the stack runs."""
    return (
        image_commands.image_of(engine.repository, number),
        *(f"{engine.repository}:{track}" for track in ("stable", "canary")),
    )


def _copy_model(engine: Engine, name: str, to: Path) -> None:
    shutil.rmtree(to, ignore_errors=True)
    to.parent.mkdir(parents=True, exist_ok=True)
    container = engine.commands.run(*image_commands.hold(engine.docker, name))
    try:
        engine.commands.run(*image_commands.copy_model(engine.docker, container, to))
    finally:
        engine.commands.run(*image_commands.let_go(engine.docker, container))


def read(line: str, by: str) -> Computed:
    """What `python -m app.answer` printed. Raises ReplayError for anything else."""
    try:
        told = json.loads(line.splitlines()[-1])
        return Computed(told["version"], told["body"], told["step"], told["digest"], told["model_md5"], by)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ReplayError(f"{by} gave no answer but {line[:80]!r}: is it older than app.answer? --here computes it") from error


def _compute_here(answer: Traced, model: Path) -> Computed:
    if answer.step == GROUPS:
        raise ReplayError(
            f"this code makes no lists of groups (step {GROUPS!r}): the image of version {answer.version_number} computes this "
            "answer again, on a machine with a Docker engine and without --here"
        )
    commands = Commands(CODE, {"MODEL_DIR": str(model), "PYTHONPATH": str(CODE)})
    command = [sys.executable, "-m", "app.answer", str(answer.user_id), *([answer.inputs] if answer.inputs else [])]
    return _run(commands, command, "the code at hand, not the released image")


def _compute_in(engine: Engine, name: str, answer: Traced, model: Path | None, by: str) -> Computed:
    owner = "" if model is None else f"{model.stat().st_uid}:{model.stat().st_gid}"
    command = image_commands.answer(engine.docker, name, answer.user_id, answer.inputs, model, owner)
    return _run(engine.commands, command, by)


def _compute_in_stack(engine: Engine, answer: Traced) -> Computed:
    """By an image of this machine, for a version that git does not name: what `up` trained on the sample."""
    names = images_of(engine, answer.version_number)
    for name in filter(engine.has, names):
        computed = _compute_in(engine, name, answer, None, f"the stack's image {name}, with the model in it")
        if computed.version == answer.version_number and answer.model_md5 in {None, computed.model_md5}:
            return computed
    raise ReplayError(
        f"git has no tag {tag(answer.version_number)}, and its model is in none of {', '.join(names)}: "
        f"was the image built again since? --here computes it from DATA_DIR/model"
    )


def _build(engine: Engine, files: VersionFiles, number: int, model: Path) -> None:
    """Build a version's image again: the checkout of its tag, with its model."""
    with tempfile.TemporaryDirectory(prefix="movierec-build-") as folder:
        context = Path(folder)
        archive = context / "code.tar"
        files.commands.run("git", "archive", "--format", "tar", "--output", str(archive), tag(number))
        shutil.unpack_archive(archive, context, "tar", filter="data")
        archive.unlink()
        shutil.copytree(model, context / "data" / "model", dirs_exist_ok=True)
        os.chmod(folder, 0o755)  # noqa: S103, PTH101 - the builder reads it as somebody else
        engine.commands.run(
            *image_commands.build(engine.docker, image_commands.image_of(engine.repository, number), context),
            seconds=BUILD_SECONDS,
        )


def _run(commands: Commands, command: Sequence[str], by: str) -> Computed:
    try:
        return read(commands.run(*command), by)
    except CommandError as error:
        raise ReplayError(f"{by} cannot compute it: {error.words}") from error
