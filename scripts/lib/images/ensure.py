"""Makes every image present: pulls it, or builds a stand-in.

Each registry is tried once, with a short limit. A registry that does not answer is not tried again.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING

from auto_deployment.common.errors import RunError
from scripts.lib.images.build import build, build_base, forget, image_id, packaged_version
from scripts.lib.images.docker import DockerError, client
from scripts.lib.images.names import registry_of
from scripts.lib.images.plan import STAND_IN, Action, ImageTask, PullOutcome, build_order, differs, plan_image, pull_outcome
from scripts.lib.images.recipes import DEBIAN, StandInRecipe, recipe_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

INSPECT_SECONDS = 60.0
SILENCE_SECONDS = 20.0
PULL_SECONDS = 900.0
PARALLEL_BUILDS = 2


class Registries:
    """Pulls images, and remembers the registries that do not answer."""

    def __init__(self) -> None:
        self._silent: set[str] = set()

    def pull(self, name: str) -> PullOutcome:
        """Pull an image. A registry without output for 20 s counts as absent, also for later images."""
        registry = registry_of(name)
        if registry in self._silent:
            return PullOutcome.NO_REGISTRY
        outcome = _pull(name)
        if outcome is PullOutcome.NO_REGISTRY:
            self._silent.add(registry)
        return outcome


def _pull(name: str) -> PullOutcome:
    with subprocess.Popen([client(), "pull", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pulling:
        if not (pulling.stdout and _has_output(pulling.stdout)):
            pulling.kill()
            return pull_outcome(None, "")
        try:
            output, _ = pulling.communicate(timeout=PULL_SECONDS)
        except subprocess.TimeoutExpired:
            pulling.kill()
            return pull_outcome(None, "")
        return pull_outcome(pulling.returncode, output)


def _has_output(stream: IO[str]) -> bool:
    """Whether the first output comes within the limit."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(SILENCE_SECONDS))


def plan_images(names: Sequence[str]) -> list[ImageTask]:
    """What to do for each image, from the images that are present now."""
    present = {name: labels_of(name) for name in names}
    return [plan_image(name, labels, recipe_for(name)) for name, labels in present.items()]


def labels_of(name: str) -> Mapping[str, str] | None:
    """The labels of an image, or None if there is no such image. Raises DockerError."""
    command = [client(), "image", "inspect", "--format", "{{json .Config.Labels}}", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSPECT_SECONDS, check=False)
    if done.returncode and "No such image" not in done.stderr:
        raise DockerError(f"the engine does not answer: {done.stderr.strip()}: run scripts/dev engine")
    return None if done.returncode else json.loads(done.stdout) or {}


def ensure(tasks: Sequence[ImageTask], report: Callable[[str], None]) -> None:
    """Do the tasks, and report a line for each image.

    Raises RunError for the first image that can neither be pulled nor built.
    """
    registries = Registries()
    missing = [recipe for each in tasks if (recipe := _get(each, registries, report))]
    if not missing:
        return
    for debian in _debian(missing, registries, report):
        _build(debian, report)
    rest = [recipe for recipe in missing if recipe.name != DEBIAN]
    build_base()
    with ThreadPoolExecutor(PARALLEL_BUILDS) as pool:
        try:
            for built in [pool.submit(_build, recipe, report) for recipe in build_order(rest)]:
                built.result()
        except BaseException:  # a build failed, or a signal came: do not start the other builds
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _get(task: ImageTask, registries: Registries, report: Callable[[str], None]) -> StandInRecipe | None:
    """Pull an image if necessary. Returns the recipe if the image must be built."""
    if task.action is Action.NOTHING:
        kind = " (a stand-in)" if STAND_IN in (labels_of(task.name) or {}) else ""
        report(f"{task.name}: is there{kind}")
        return None
    if task.action is Action.REBUILD:
        return task.recipe
    began = time.monotonic()
    outcome = registries.pull(task.name)
    if outcome is PullOutcome.DONE:
        report(f"{task.name}: pulled in {time.monotonic() - began:.0f} s")
        return None
    if task.recipe is None:
        raise RunError(f"{task.name}: {outcome.value}, and there is no stand-in for it under scripts/lib/images/stand_ins")
    return task.recipe


def _debian(missing: Sequence[StandInRecipe], registries: Registries, report: Callable[[str], None]) -> list[StandInRecipe]:
    """Debian's recipe, if the base image of the stand-ins is missing."""
    named = [recipe for recipe in missing if recipe.name == DEBIAN]
    return named or [recipe for each in plan_images([DEBIAN]) if (recipe := _get(each, registries, report))]


def _build(recipe: StandInRecipe, report: Callable[[str], None]) -> None:
    began = time.monotonic()
    older = image_id(recipe.name)
    build(recipe)
    forget(recipe.name, older)
    version = packaged_version(recipe.name)
    packaged = f", with Debian's {version}" if version else ""
    warning = ", which is NOT the version that the name says" if differs(recipe.name, version) else ""
    report(f"{recipe.name}: stand-in built in {time.monotonic() - began:.0f} s{packaged}{warning}")
