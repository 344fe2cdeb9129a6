"""Decides what to do for each image (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from scripts.lib.images.names import tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scripts.lib.images.recipes import StandInRecipe

STAND_IN = "movierec.stand-in"
RECIPE = "movierec.stand-in.recipe"
PACKAGE = "movierec.stand-in.package"


class Action(Enum):
    """What to do for an image."""

    NOTHING = "present"
    REBUILD = "an older stand-in"
    GET = "absent"


class PullOutcome(Enum):
    """The outcome of a `docker pull`."""

    DONE = "pulled"
    UNKNOWN = "the registry does not have it"
    NO_REGISTRY = "the registry does not answer"


@dataclass(frozen=True)
class ImageTask:
    """What to do for the image `name`. `recipe` is None if there is no stand-in for it."""

    name: str
    action: Action
    recipe: StandInRecipe | None


def plan_image(name: str, labels: Mapping[str, str] | None, recipe: StandInRecipe | None) -> ImageTask:
    """What to do for one image. `labels` are those of the present image with this name, or None if there is none.

    A present stand-in stays as long as its recipe is the same. A pull never replaces it silently.
    """
    if labels is None:
        return ImageTask(name, Action.GET, recipe)
    stale = STAND_IN in labels and recipe is not None and labels.get(RECIPE) != recipe.digest
    return ImageTask(name, Action.REBUILD if stale else Action.NOTHING, recipe)


def pull_outcome(status: int | None, output: str) -> PullOutcome:
    """The outcome from the exit status and the output. Status None: stopped, because there was no output for too long."""
    if status == 0:
        return PullOutcome.DONE
    unknown = re.search(r"not found|manifest unknown|does not exist|pull access denied", output)
    return PullOutcome.UNKNOWN if status is not None and unknown else PullOutcome.NO_REGISTRY


def build_order(recipes: Iterable[StandInRecipe]) -> list[StandInRecipe]:
    """The recipes in the order of their builds: the slowest first, so that the others are built at the same time."""
    return sorted(recipes, key=lambda recipe: not recipe.prepares)


def differs(name: str, packaged: str) -> bool:
    """Whether the first two numbers of a package's version differ from the image's tag."""
    tagged = re.match(r"v?(\d+\.\d+)", tag_of(name))
    installed = re.match(r"(?:\d+:)?(\d+\.\d+)", packaged)
    return bool(tagged and installed and tagged[1] != installed[1])
