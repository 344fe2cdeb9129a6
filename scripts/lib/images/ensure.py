"""Every image there: looked for, pulled, or built."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from scripts.lib.images.build import build, build_base, forget, image_id, packaged_version
from scripts.lib.images.docker import DockerError, client
from scripts.lib.images.plan import STAND_IN, Pull, Step, Work, build_order, differs, step
from scripts.lib.images.recipes import DEBIAN, Recipe, recipe_for
from scripts.lib.images.registry import Registries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ASK_SECONDS = 60.0
AT_ONCE = 2


def look(names: Sequence[str]) -> list[Step]:
    """What is to be done for each image, as things stand."""
    there = {name: labels_of(name) for name in names}
    return [step(name, labels, recipe_for(name)) for name, labels in there.items()]


def labels_of(name: str) -> Mapping[str, str] | None:
    """The labels of an image; None where there is no such image."""
    asked = [client(), "image", "inspect", "--format", "{{json .Config.Labels}}", name]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    if done.returncode and "No such image" not in done.stderr:
        raise DockerError(f"the engine does not answer: {done.stderr.strip()}: run scripts/dev engine")
    return None if done.returncode else json.loads(done.stdout) or {}


def ensure(steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Do what the steps ask for, and say so, a line an image.

    Raises RunError for the first image that can neither be pulled nor built.
    """
    registries = Registries()
    missing = [recipe for each in steps if (recipe := _get(each, registries, say))]
    if not missing:
        return
    for debian in _debian(missing, registries, say):
        _build(debian, say)
    rest = [recipe for recipe in missing if recipe.name != DEBIAN]
    build_base()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for built in [pool.submit(_build, recipe, say) for recipe in build_order(rest)]:
                built.result()
        except BaseException:  # one failed, or a signal came: what has not begun need not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _get(todo: Step, registries: Registries, say: Callable[[str], None]) -> Recipe | None:
    """Pull an image if it is asked for; the recipe if it is left to be built."""
    if todo.work is Work.NOTHING:
        kind = " (a stand-in)" if STAND_IN in (labels_of(todo.name) or {}) else ""
        say(f"{todo.name}: is there{kind}")
        return None
    if todo.work is Work.REBUILD:
        return todo.recipe
    began = time.monotonic()
    outcome = registries.pull(todo.name)
    if outcome is Pull.DONE:
        say(f"{todo.name}: pulled in {time.monotonic() - began:.0f} s")
        return None
    if todo.recipe is None:
        raise RunError(f"{todo.name}: {outcome.value}, and there is no stand-in for it under scripts/lib/images/stand_ins")
    return todo.recipe


def _debian(missing: Sequence[Recipe], registries: Registries, say: Callable[[str], None]) -> list[Recipe]:
    """Debian's recipe, if the stand-ins lack what they start from."""
    named = [recipe for recipe in missing if recipe.name == DEBIAN]
    return named or [recipe for each in look([DEBIAN]) if (recipe := _get(each, registries, say))]


def _build(recipe: Recipe, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    older = image_id(recipe.name)
    build(recipe)
    forget(recipe.name, older)
    version = packaged_version(recipe.name)
    told = f", with Debian's {version}" if version else ""
    warning = ", which is NOT the version that the name says" if differs(recipe.name, version) else ""
    say(f"{recipe.name}: stand-in built in {time.monotonic() - began:.0f} s{told}{warning}")
