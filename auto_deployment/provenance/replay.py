"""Replay: an answer is computed again, by the image and the model of its version, or by the code at hand."""

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
from auto_deployment.provenance.explanation import GROUPS
from auto_deployment.provenance.version_files import is_model
from auto_deployment.release import image_commands
from auto_deployment.versioning.repository import tag_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.provenance.archive import Traced
    from auto_deployment.provenance.version_files import VersionFiles

CODE = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 1200.0
COMPUTED = "fresh:"


class ReplayError(RunError):
    """The answer cannot be computed again. The text says what is missing."""


class ReplayedAnswer(NamedTuple):
    """An answer that was computed again. `by` describes the image or code that computed it."""

    version: int
    body: str
    step: str
    digest: str
    model_md5: str
    by: str

    def equals(self, answer: Traced) -> bool:
        """Whether this is the recorded answer, to the byte."""
        return (self.version, self.step, self.digest) == (answer.version_number, answer.step, answer.digest)


class Engine:
    """The path of the docker client, and the repository of the stack's images."""

    def __init__(self, docker: str, repository: str) -> None:
        self.docker = docker
        self.repository = repository
        self.commands = Commands(CODE)

    def has(self, name: str) -> bool:
        """Whether this machine has the image."""
        try:
            self.commands.run(*image_commands.exists(self.docker, name))
        except CommandError:
            return False
        return True


def find_engine(repository: str) -> Engine | None:
    """The engine of this machine. None if no engine answers."""
    commands = Commands(CODE)
    try:
        docker = commands.run(str(CODE / "scripts" / "lib" / "docker.sh"), seconds=60)
        commands.run(docker, "version", "--format", "{{.Server.Version}}", seconds=20)
    except CommandError:
        return None
    return Engine(docker, repository)


def replay(answer: Traced, source: str, files: VersionFiles, engine: Engine | None) -> ReplayedAnswer:
    """Compute the answer again, without an engine by the code at hand. Raises RunError that says what is missing.

    `source` is what the list of an answer of step `fresh` was computed from.
    """
    number = answer.version_number
    if answer.inputs.startswith(COMPUTED) and not source:
        raise ReplayError("served_lists has no row for the list of this answer: the list cannot be computed again")
    arguments = [str(answer.user_id), *filter(None, (answer.inputs, source))]
    if engine is None:
        return _replay_here(answer, arguments, files.model(number, answer.model_md5))
    if files.is_published(number):
        model = files.model(number, answer.model_md5)
        name, by = image_commands.image_of(engine.repository, number), "the released image"
        if not engine.has(name):
            _build(engine, files, number, model)
            by = f"the image built again from {tag_of(number)}"
        return _replay_in(engine, name, arguments, model, f"{by}, {name}")
    return _replay_in_stack(engine, answer, arguments)


def find_model(answer: Traced, files: VersionFiles, engine: Engine | None) -> Path:
    """The folder of the model that answered: see `VersionFiles.model`. A version without a tag may have it in an image.

    An image has no rating part. Raises RunError if there is no model.
    """
    number, md5 = answer.version_number, answer.model_md5
    try:
        return files.model(number, md5)
    except RunError:
        if engine is None or files.is_published(number):
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
    """The images that may hold a version without a tag: the first release keeps one, and before that the stack runs it."""
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


def read(output: str, by: str) -> ReplayedAnswer:
    """The answer in the output of `python -m app.answer`. Raises ReplayError for any other output."""
    try:
        content = json.loads(output.splitlines()[-1])
        return ReplayedAnswer(**{name: content[name] for name in ReplayedAnswer._fields if name != "by"}, by=by)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ReplayError(
            f"{by} gave no answer but {output[:80]!r}: is it older than app.answer? --here computes it"
        ) from error


def _replay_here(answer: Traced, arguments: Sequence[str], model: Path) -> ReplayedAnswer:
    if answer.step == GROUPS:
        raise ReplayError(
            f"this code makes no lists of groups (step {GROUPS!r}): the image of version {answer.version_number} computes this "
            "answer again, on a machine with a Docker engine and without --here"
        )
    commands = Commands(CODE, {"MODEL_DIR": str(model), "PYTHONPATH": str(CODE)})
    return _run(commands, [sys.executable, "-m", "app.answer", *arguments], "the code at hand, not the released image")


def _replay_in(engine: Engine, name: str, arguments: Sequence[str], model: Path | None, by: str) -> ReplayedAnswer:
    owner = "" if model is None else f"{model.stat().st_uid}:{model.stat().st_gid}"
    command = image_commands.answer(engine.docker, name, arguments, model, owner)
    return _run(engine.commands, command, by)


def _replay_in_stack(engine: Engine, answer: Traced, arguments: Sequence[str]) -> ReplayedAnswer:
    """Replay an answer of a version without a tag, which `up` trained on the sample, by an image of this machine."""
    names = images_of(engine, answer.version_number)
    for name in filter(engine.has, names):
        replayed = _replay_in(engine, name, arguments, None, f"the stack's image {name}, with the model in it")
        if replayed.version == answer.version_number and answer.model_md5 in {None, replayed.model_md5}:
            return replayed
    raise ReplayError(
        f"git has no tag {tag_of(answer.version_number)}, and its model is in none of {', '.join(names)}: "
        f"was the image built again since? --here computes it from DATA_DIR/model"
    )


def _build(engine: Engine, files: VersionFiles, number: int, model: Path) -> None:
    """Build a version's image again from the code of its tag, with its model."""
    with tempfile.TemporaryDirectory(prefix="movierec-build-") as folder:
        context = Path(folder)
        archive = context / "code.tar"
        files.commands.run("git", "archive", "--format", "tar", "--output", str(archive), tag_of(number))
        # By tar: Debian 12's Python 3.11.2 has no filter for archives, and newer ones warn without one.
        files.commands.run("tar", "--extract", "--no-same-owner", "--file", str(archive), "--directory", folder)
        archive.unlink()
        shutil.copytree(model, context / "data" / "model", dirs_exist_ok=True)
        os.chmod(folder, 0o755)  # noqa: S103, PTH101 - another user, the builder's, reads the folder
        engine.commands.run(
            *image_commands.build(engine.docker, image_commands.image_of(engine.repository, number), context),
            seconds=BUILD_SECONDS,
        )


def _run(commands: Commands, command: Sequence[str], by: str) -> ReplayedAnswer:
    try:
        return read(commands.run(*command), by)
    except CommandError as error:
        raise ReplayError(f"{by} cannot compute it: {error.words}") from error
